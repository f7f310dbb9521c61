"""The closed form of one model after the other in compiled code, where there is some.

A closed form in torch makes ten passes over the memory of a group of covariances, and
Python's lock keeps threads from starting operations side by side. `fused.cpp` does all
of one model in the processor's cache, and without the lock. It is compiled at the first
fit, as BoTorch compiles its fused acquisition function, by torch's loader of extensions:
that takes a C++ compiler and the package `ninja` (the extra `fast`). Without them, and
for every kernel that `fused.cpp` does not know, models are evaluated in torch.

It uses the Cholesky factorization and inverse of the LAPACK under SciPy.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import torch
from gpytorch.priors import GammaPrior, LogNormalPrior, NormalPrior
from numpy.typing import NDArray
from scipy.linalg import cython_lapack
from torch import Tensor

from botorch_xval.fitting.losses.nodes import Leaf, Mixture, Node, Product, Scale
from botorch_xval.fitting.losses.parameters import Array
from botorch_xval.fitting.losses.values import Values
from botorch_xval.models.priors import BetaPrior

__all__ = ["Fused", "fused_library"]

logger = logging.getLogger(__name__)
KINDS = ["exponential", "rbf", "matern12", "matern32", "matern52"]
SCALE, MIXTURE, PRODUCT = range(len(KINDS), len(KINDS) + 3)
CONSTRAINTS = ["softplus", "sigmoid"]
PRIORS = [GammaPrior, LogNormalPrior, NormalPrior, BetaPrior]


class _Node(Structure):
    _fields_ = [
        ("kind", c_int64),
        ("column", c_int64),
        ("width", c_int64),
        ("first_child", c_int64),
        ("num_children", c_int64),
        ("num_features", c_int64),
        ("features", c_void_p),
        ("owners", c_void_p),
        ("factor", c_double),
    ]


class _Group(Structure):
    _fields_ = [
        ("kind", c_int64),
        ("begin", c_int64),
        ("end", c_int64),
        ("low", c_double),
        ("high", c_double),
    ]


class _Prior(Structure):
    _fields_ = [
        ("kind", c_int64),
        ("column", c_int64),
        ("first", c_double),
        ("second", c_double),
    ]


class _Model(Structure):
    _fields_ = [
        ("num_points", c_int64),
        ("num_columns", c_int64),
        ("num_nodes", c_int64),
        ("num_groups", c_int64),
        ("num_priors", c_int64),
        ("nodes", POINTER(_Node)),
        ("children", c_void_p),
        ("groups", POINTER(_Group)),
        ("priors", POINTER(_Prior)),
        ("prior_constant", c_double),
        ("targets", c_void_p),
        ("noise", c_void_p),
        ("inputs", c_void_p),
        ("noise_column", c_int64),
        ("mean_column", c_int64),
        ("weights_column", c_int64),
        ("num_inputs", c_int64),
        ("doubt", c_double),
        ("potrf", c_void_p),
        ("potri", c_void_p),
    ]
