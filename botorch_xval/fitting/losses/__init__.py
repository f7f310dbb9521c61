"""Losses and gradients of chosen models: in closed form, or by GPyTorch's modules."""
