"""The closed form of one model after the other in compiled code, where there is some.

In torch a closed form makes ten passes over the covariances of a group of models, and
Python's lock keeps threads from starting operations side by side. `fused.cpp` does all
of one model in the processor's cache and without the lock, so that threads do not wait
for each other; `benchmarks/compiled.py` says what that is worth.

It is compiled at the first fit of an installation, in two seconds, where there is a C++
compiler, as BoTorch compiles its fused acquisition function. Not by torch's loader of
extensions: a process that is killed while that compiles leaves a lock for which all
others wait, and to import it takes 0.1 s. Without a compiler, on other devices than
CPU, and for kernels without a formula there, models are evaluated in torch; where both
are possible they agree to rounding.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from ctypes import Structure, c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import torch
from gpytorch.kernels import (
    IndexKernel,
    LinearKernel,
    PeriodicKernel,
    PolynomialKernel,
    RQKernel,
)
from gpytorch.priors import GammaPrior, LogNormalPrior, NormalPrior
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.fitting.losses.by_autograd import ByAutograd
from botorch_xval.fitting.losses.mean_and_noise import Mean, Noise
from botorch_xval.fitting.losses.nodes import Leaf, Mixture, Node, Product, Scale
from botorch_xval.fitting.losses.parameters import Array, Unsupported, require
from botorch_xval.fitting.losses.values import Values
from botorch_xval.fitting.losses.warped import Warped
from botorch_xval.models.priors import BetaPrior

__all__ = ["MOST_POINTS", "Fused", "fused_library"]

logger = logging.getLogger(__name__)
# Beyond that a model is no longer in the cache, and torch has threads within a model.
MOST_POINTS = 1000
SOURCE = Path(__file__).with_name("fused.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ["-std=c++17", "-O3", "-shared", "-fPIC", "-fopenmp-simd"]
# What lets compilers use vector instructions; no rounding depends on it.
FLAGS += ["-fno-math-errno", "-fno-trapping-math"]
# By what torch finds at hand, and not "native": nodes of a cluster share a home.
AVX2 = ("-mtune=native", "-mavx2", "-mfma")
AVX512 = (*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl")))
INSTRUCTIONS = {"AVX2": AVX2, "AVX512": AVX512}
# In the order of fused.cpp.
LEAVES = ("exponential", "rbf", "matern12", "matern32", "matern52")
# What torch evaluates by autograd: the parameter for each feature, and another.
OTHERS: dict[Callable, tuple[str | None, str | None]] = {
    RQKernel.forward: ("raw_lengthscale", "raw_alpha"),
    PeriodicKernel.forward: ("raw_lengthscale", "raw_period_length"),
    LinearKernel.forward: ("raw_variance", None),
    PolynomialKernel.forward: (None, "raw_offset"),
    IndexKernel.forward: ("raw_var", None),
}
INNER = (Scale, Mixture, Product)
CONSTRAINTS = ("softplus", "sigmoid", "exp")
PRIORS = (GammaPrior, LogNormalPrior, NormalPrior, BetaPrior)


@cache
def fused_library() -> ctypes.CDLL | None:
    """The compiled code; None where there is no compiler, or it fails."""
    try:
        library = ctypes.CDLL(str(_compiled()))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        logger.info(
            "models are evaluated in torch, as there is no compiled code: %s", error
        )
        return None
    library.fused_new.restype = c_void_p
    library.fused_new.argtypes = [c_void_p]
    library.fused_delete.restype = None
    library.fused_delete.argtypes = [c_void_p]
    library.fused_evaluate.restype = None
    library.fused_evaluate.argtypes = [c_void_p, c_int64, c_int64, *[c_void_p] * 5]
    return library


def _compiled() -> Path:
    """The file of the library, which is made if there is none for this source."""
    names = [name for name in (os.environ.get("CXX"), *COMPILERS) if name]
    compiler = next((path for path in map(shutil.which, names) if path), None)
    if compiler is None:
        raise FileNotFoundError(f"none of {', '.join(names)} is installed")
    capability = torch.backends.cpu.get_cpu_capability()
    flags = [*FLAGS, *INSTRUCTIONS.get(capability, ())]
    key = [SOURCE.read_bytes(), platform.machine().encode(), *map(str.encode, flags)]
    name = f"fused-{hashlib.sha256(b' '.join(key)).hexdigest()[:16]}.so"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    found = Path(home, "botorch_xval", name)
    if found.exists():
        return found
    found.parent.mkdir(parents=True, exist_ok=True)
    # Written under another name first: no process may load a part of it.
    with tempfile.TemporaryDirectory(dir=found.parent) as folder:
        made = Path(folder, name)
        subprocess.run(
            [compiler, *flags, "-o", str(made), str(SOURCE)],
            check=True,
            capture_output=True,
            timeout=120,
        )
        made.replace(found)
    return found


class _Node(Structure):
    _fields_ = (
        ("kind", c_int64),
        ("column", c_int64),
        ("first_child", c_int64),
        ("num_children", c_int64),
        ("num_features", c_int64),
        ("features", c_void_p),
        ("model_stride", c_int64),
        ("point_stride", c_int64),
        ("owners", c_void_p),
        ("factor", c_double),
        ("other_column", c_int64),
        ("other_per_feature", c_int64),
        ("num_tasks", c_int64),
        ("rank", c_int64),
        ("target", c_int64),
        ("inputs", c_void_p),
    )


class _Group(Structure):
    _fields_ = (
        ("kind", c_int64),
        ("begin", c_int64),
        ("end", c_int64),
        ("low", c_double),
        ("high", c_double),
    )


class _Prior(Structure):
    _fields_ = (
        ("kind", c_int64),
        ("column", c_int64),
        ("first", c_double),
        ("second", c_double),
    )


class _Data(Structure):
    _fields_ = (("values", c_void_p), ("stride", c_int64))


class _Model(Structure):
    _fields_ = (
        ("num_points", c_int64),
        ("num_columns", c_int64),
        ("num_nodes", c_int64),
        ("num_groups", c_int64),
        ("num_priors", c_int64),
        ("nodes", c_void_p),
        ("children", c_void_p),
        ("groups", c_void_p),
        ("priors", c_void_p),
        ("prior_constant", c_double),
        ("targets", _Data),
        ("noise", _Data),
        ("inputs", _Data),
        ("tasks", _Data),
        ("warped", _Data),
        ("concentrations", c_void_p),
        ("weights_column", c_int64),
        ("num_inputs", c_int64),
        ("noise_columns", c_void_p),
        ("mean_columns", c_void_p),
        ("criterion", c_int64),
        ("doubt", c_double),
    )


class Fused:
    """Losses and gradients of models of one structure, one after the other.

    Raises:
        Unsupported: If a part of the kernel has no formula here, or there is no
            compiled code.
    """

    def __init__(
        self,
        kernel: Node,
        values: Values,
        mean: Mean,
        noise: Noise,
        targets: Tensor,
        inputs: Tensor,
        tasks: Tensor | None,
        num_points: int,
        criterion: int,
        doubt: float,
    ) -> None:
        """
        Args:
            kernel: Of the models, `b`.
            values: Constraints and priors of the columns of parameters.
            mean: Of the models.
            noise: Of the models.
            targets: `b x n`, or more columns.
            inputs: `b x n x d`.
            tasks: Of the points, `b x n`, where mean or noise differ between them.
            num_points: Training points of a model, `n`.
            criterion: Its place in :data:`~criteria.CRITERIA`.
            doubt: A pivot of the factor below this share of the largest covariance is
                mostly rounding.
        """
        library = fused_library()
        if library is None:
            raise Unsupported("no compiled code")
        self._library, self._num_columns = library, values.size
        self._num_models, self._values = len(targets), values
        self._kept: list[object] = []  # what the structure points to
        self._nodes: list[_Node] = []
        self._children: list[int] = []
        warped: Warped | None = getattr(kernel, "warped", None)
        self._add(kernel if warped is None else warped.node)
        groups = [
            _Group(CONSTRAINTS.index(kind), columns.start, columns.stop, low, high)
            for columns, kind, low, high in values.groups
        ]
        priors = [
            _Prior(PRIORS.index(kind), *numbers)
            for kind, *parts in values.priors
            for numbers in zip(*(part.tolist() for part in parts), strict=True)
        ]
        weights, d = mean.weights, inputs.shape[-1]
        count = 1 if tasks is None else int(tasks.max()) + 1
        if weights is not None:
            require(weights.stop - weights.start == d, "weights of other width")
        self._model = _Model(
            num_points=num_points,
            num_columns=values.size,
            num_nodes=len(self._nodes),
            num_groups=len(groups),
            num_priors=len(priors),
            nodes=self._array(_Node, self._nodes),
            children=self._array(c_int64, self._children),
            groups=self._array(_Group, groups),
            priors=self._array(_Prior, priors),
            prior_constant=values.constant,
            targets=self._data(targets),
            noise=self._data(noise.known),
            inputs=self._data(inputs if weights is not None else None),
            noise_columns=self._columns(noise.columns, count),
            tasks=self._data(tasks),
            mean_columns=self._columns(mean.columns, count),
            warped=self._data(None if warped is None else warped.X),
            concentrations=None
            if warped is None
            else self._pointer(warped.columns.contiguous()),
            weights_column=-1 if weights is None else weights.start,
            num_inputs=d,
            criterion=criterion,
            doubt=doubt,
        )
        self._begin()

    def another(self) -> Fused:
        """An equal one that another thread may use."""
        other = object.__new__(Fused)
        other.__dict__.update(self.__dict__)
        other._begin()
        return other

    def __call__(
        self, theta: Array, models: Sequence[int]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Losses per point, `a`, gradients, `a x p`, and where there are some, `a`.

        There are none (but NaN) where a covariance is not positive definite, or
        singular to rounding.
        """
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        numbers = np.array(models, dtype=np.int64)
        is_known = (numbers >= 0) & (numbers < self._num_models)
        if theta.shape != (len(numbers), self._num_columns) or not is_known.all():
            raise IndexError(  # nothing else looks at it
                f"expected models among {self._num_models} and {self._num_columns} "
                f"parameters of each, got {list(models)} and {theta.shape}"
            )
        losses, gradients = np.full(len(theta), np.nan), np.full_like(theta, np.nan)
        outcomes = np.empty(len(theta), dtype=np.int64)
        parts = (theta, numbers, losses, gradients, outcomes)
        self._library.fused_evaluate(
            self._evaluation,
            len(theta),
            self._num_columns,
            *(part.ctypes.data for part in parts),
        )
        if self._values.others:
            self._add_other_priors(theta, losses, gradients)
        return losses, gradients, outcomes == 0

    def _add_other_priors(self, theta: Array, losses: Array, gradients: Array) -> None:
        """Those that are not of single parameters, by autograd."""
        values, slopes = self._values.transform(torch.from_numpy(theta))
        more, slope = torch.zeros(len(theta)).to(values), torch.zeros_like(values)
        for other in self._values.others:
            other.add(values, more, slope)
        n = self._model.num_points
        # Torch adds infinities of opposite signs without a warning.
        torch.from_numpy(losses).add_(more / n)
        torch.from_numpy(gradients).add_(slope * slopes / n)

    def _begin(self) -> None:
        found = self._library.fused_new(ctypes.addressof(self._model))
        self._evaluation = found
        finalize(self, self._library.fused_delete, found)

    def _add(self, node: Node) -> int:
        """The number of a node, children before parents."""
        numbers = [self._add(child) for child in node.children]
        entry = _Node(
            column=-1, first_child=len(self._children), num_children=len(numbers)
        )
        self._children += numbers
        if isinstance(node, Leaf):
            entry.kind, entry.factor = LEAVES.index(node.kind), node.factor
            self._add_features(entry, node.features, node.columns, node.owner)
            if node.inputs is not None:
                entry.inputs = self._pointer(torch.tensor(node.inputs))
        elif isinstance(node, ByAutograd):
            self._add_other(entry, node)
        else:
            require(type(node) in INNER, node)
            entry.kind = len(LEAVES) + len(OTHERS) + INNER.index(type(node))
            columns = getattr(node, "columns", None)
            entry.column = -1 if columns is None else columns.start
        self._nodes.append(entry)
        return len(self._nodes) - 1

    def _add_other(self, entry: _Node, node: ByAutograd) -> None:
        """A kernel that is known here only."""
        forward = type(node.kernel).forward
        require(forward in OTHERS, node.kernel)
        entry.kind = len(LEAVES) + list(OTHERS).index(forward)
        if forward is IndexKernel.forward:
            self._add_index(entry, node)
            return
        own, other = OTHERS[forward]
        names = {f"kernel.{name}" for name in (own, other) if name is not None}
        require(names == set(node.columns), node.kernel)
        entry.factor = float(getattr(node.kernel, "power", 1.0))
        columns = slice(0, 1) if own is None else node.columns[f"kernel.{own}"]
        self._add_features(entry, node.X.contiguous(), columns)
        if other is not None:
            columns = node.columns[f"kernel.{other}"]
            entry.other_column = columns.start
            width = columns.stop - columns.start
            require(width in (1, entry.num_features), node.kernel)
            entry.other_per_feature = int(width > 1)

    def _add_index(self, entry: _Node, node: ByAutograd) -> None:
        """A kernel of tasks, GPyTorch's or BoTorch's, which divides by the target's."""
        kernel = node.kernel
        name = type(kernel).__name__  # older versions of BoTorch do not have it
        require(type(kernel) is IndexKernel or name == "PositiveIndexKernel", kernel)
        own = node.columns["kernel.raw_var"]
        (factor,) = (node.columns[n] for n in node.columns if n.endswith("factor"))
        entry.num_tasks, entry.target = own.stop - own.start, -1
        entry.rank = (factor.stop - factor.start) // entry.num_tasks
        entry.other_column = factor.start
        if getattr(kernel, "unit_scale_for_target", False):
            entry.target = kernel.target_task_index
        tasks = node.X  # that nothing is read beyond the table of tasks
        is_one = (tasks >= 0) & (tasks < entry.num_tasks) & (tasks == tasks.floor())
        require(tasks.shape[-1] == 1 and bool(is_one.all()), "other tasks")
        self._add_features(entry, node.X.contiguous(), own, torch.zeros(1).long())

    def _add_features(
        self,
        entry: _Node,
        features: Tensor,
        columns: slice,
        owner: Tensor | None = None,
    ) -> None:
        """Features, `b x n x d`, and the columns of their parameters."""
        width, d = columns.stop - columns.start, features.shape[-1]
        owners = torch.arange(d) if owner is None else owner
        require(width == 1 or int(owners.max()) < width, "parameters of other width")
        entry.column, entry.num_features = columns.start, d
        entry.features = self._pointer(features)
        entry.model_stride, entry.point_stride, _ = features.stride()
        entry.owners = self._pointer(owners * (width > 1))

    def _data(self, rows: Tensor | None) -> _Data:
        if rows is None:
            return _Data(None, 0)
        return _Data(self._pointer(rows), rows.stride(0))

    def _columns(self, columns: Tensor | None, count: int) -> int | None:
        """The address of the columns of so many tasks, which may have one in common."""
        if columns is None:
            return None
        columns = columns.expand(count) if len(columns) == 1 else columns
        require(len(columns) >= count, "tasks without parameters")
        return self._pointer(columns.contiguous())

    def _pointer(self, values: Tensor) -> int:
        """The address of a tensor, whose numbers of one model lie side by side."""
        require(values[0].is_contiguous(), "data that are not contiguous")
        self._kept.append(values)
        return values.data_ptr()

    def _array(self, kind: Any, items: Sequence[object]) -> int:
        array = (kind * len(items))(*items)
        self._kept.append(array)
        return ctypes.addressof(array)
