"""The bundled table of tuning trials; see `benchmarks/sweep.py`."""
