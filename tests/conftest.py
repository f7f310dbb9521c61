"""Plots are drawn without a screen; nothing else is set for all tests."""

import matplotlib

matplotlib.use("agg")
