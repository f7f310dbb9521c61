"""Kernels as formulas, with the names of their features.

A kernel is recognized by its `forward`: a subclass that only adds priors or a
constructor (such as BoTorch's SAAS and index kernels) has the formula of its parent,
and a kernel with an unknown `forward` is shown by its name and its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from botorch.models.kernels import CategoricalKernel
from gpytorch import kernels
from gpytorch.kernels import Kernel
from linear_operator import to_dense

from botorch_xval.fitting.losses.parameters import columns_seen
from botorch_xval.models.kernels import ChoiceKernel, WeightedMixtureKernel
from botorch_xval.reporting.expressions.tree import Node, Piece, Value, names_text
from botorch_xval.reporting.expressions.values import Reader, parameters_formula

__all__ = ["covariance_formula"]

Names: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class _Term:
    """The formula of a kernel, and what a comment may say about it."""

    node: Node
    features: tuple[str, ...]
    sorts: tuple[str, ...]
    """What its parts compare: scalars, choices, tasks or a mixture."""

    role: str = ""
    """`sum` or `product` of several kernels; empty for a single one."""


Formula: TypeAlias = Callable[[Kernel, Names, Reader], _Term]


def covariance_formula(kernel: Kernel, features: Sequence[str], reader: Reader) -> Node:
    """The formula of a kernel.

    Args:
        kernel: Any kernel; an unknown one is shown by its name and parameters.
        features: Names of the columns that the kernel is given.
        reader: Reads its parameters.

    Returns:
        The formula, with a comment for every sum or product of kernels in it.
    """
    seen = columns_seen(kernel, features)
    return _term(kernel, replace(reader, seen=seen)).node


def _term(kernel: Kernel, reader: Reader) -> _Term:
    """The term of a kernel or of a part of one."""
    features = reader.seen[kernel]
    formula = FORMULAS.get(type(kernel).forward)
    if formula is None or type(kernel).__call__ is not Kernel.__call__:
        node = parameters_formula(kernel, features, reader)
        return _Term(node, features, ("scalars",))
    term = formula(kernel, features, reader)
    own = {name for name, _ in kernel.named_parameters(recurse=False)}
    if extra := own - SHOWN:  # such as the global shrinkage of a SAAS prior
        comment: list[Piece] = ["with "]
        for label, value in reader.parameters(kernel):
            if f"raw_{label}" in extra or label in extra:
                comment += [f"{label} ", value, ", "]
        node = replace(term.node, comment=(*term.node.comment, *comment[:-1]))
        return replace(term, node=node)
    return term


def _leaf(
    features: tuple[str, ...],
    before: str,
    parts: Sequence[Node],
    *after: Piece,
    sort: str = "scalars",
) -> _Term:
    return _Term(Node((before,), tuple(parts), after), features, (sort,))


def _distance(
    before: str,
    after: tuple[Piece, ...] = (")",),
    word: str = "compare",
    sort: str = "scalars",
) -> Formula:
    """How to write a kernel of a distance whose terms its lengthscales divide."""

    def formula(kernel: Kernel, features: Names, reader: Reader) -> _Term:
        lengthscales = kernel.lengthscale[..., 0, :]
        if lengthscales.shape[-1] == 1 < len(features):
            parts = [Node((f"{word}({name!r})",)) for name in features]
            name = f"lengthscale of {names_text(features)}"
            shared = reader.value(lengthscales[..., 0], name, "lengthscale")
            return _leaf(features, before, parts, "]) / ", shared, *after, sort=sort)
        names = [f"lengthscale of {name!r}" for name in features]
        values = reader.values(lengthscales, names, "lengthscale")
        parts = [
            Node((f"{word}({name!r}) / ", value))
            for name, value in zip(features, values, strict=True)
        ]
        return _leaf(features, before, parts, "])", *after, sort=sort)

    return formula


def _matern(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    return _distance(f"matern_{10 * kernel.nu:02.0f}(norm_l2([")(
        kernel, features, reader
    )


def _rational_quadratic(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    name = f"alpha of {names_text(features)}"
    alpha = reader.value(kernel.alpha[..., 0], name, "alpha")
    after = (", alpha=", alpha, ")")
    return _distance("rational_quadratic(norm_l2([", after)(kernel, features, reader)


def _periodic(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    periods, lengthscales = (
        reader.values(
            tensor[..., 0, :].expand(*tensor.shape[:-2], len(features)),
            [f"{kind} of {name!r}" for name in features],
            kind,
        )
        for tensor, kind in (
            (kernel.period_length, "period"),
            (kernel.lengthscale, "lengthscale"),
        )
    )
    parts = [
        Node((f"sin(pi * compare({name!r}) / ", period, ")**2 / ", lengthscale))
        for name, period, lengthscale in zip(
            features, periods, lengthscales, strict=True
        )
    ]
    return _leaf(features, "exp(-2 * sum([", parts, "]))")


def _cosine(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    name = f"period of {names_text(features)}"
    period = reader.value(kernel.period_length[..., 0, 0], name, "period")
    parts = [Node((f"compare({name!r})",)) for name in features]
    return _leaf(features, "cos(pi * norm_l2([", parts, "]) / ", period, ")")


def _linear(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    variances = kernel.variance[..., 0, :]
    if variances.shape[-1] == 1 < len(features):
        name = f"variance of {names_text(features)}"
        shared = reader.value(variances[..., 0], name, "variance")
        parts = [Node((f"multiply({name!r})",)) for name in features]
        return _scaled(shared, _leaf(features, "sum([", parts, "])"))
    names = [f"variance of {name!r}" for name in features]
    values = reader.values(variances, names, "variance")
    parts = [
        Node((value, f" * multiply({name!r})"))
        for name, value in zip(features, values, strict=True)
    ]
    return _leaf(features, "sum([", parts, "])")


def _polynomial(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    name = f"offset of {names_text(features)}"
    offset = reader.value(kernel.offset[..., 0], name, "offset")
    parts = [Node((f"multiply({name!r})",)) for name in features]
    return _leaf(features, "(sum([", parts, "]) + ", offset, f")**{kernel.power}")


def _constant(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    value = reader.value(kernel.constant[..., 0], "constant covariance", "scale")
    return _Term(Node((value,)), (), ("scalars",))


def _hamming(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    size = kernel.vocab_size
    groups = (features[i : i + size] for i in range(0, len(features), size))
    parts = [Node((f"differ({', '.join(map(repr, group))})",)) for group in groups]
    alpha, beta = (
        reader.value(tensor[..., 0], f"{name} of {names_text(features)}", name)
        for name, tensor in (("alpha", kernel.alpha), ("beta", kernel.beta))
    )
    after = ("]), alpha=", alpha, ", beta=", beta, ")")
    return _leaf(features, "inverse_multiquadric(sum([", parts, *after, sort="choices")


def _index(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    return _lookup(kernel, repr(features[0]), features, reader)


def _lookup(kernel: Kernel, what: str, features: Names, reader: Reader) -> _Term:
    covariance = to_dense(kernel.covar_matrix)
    parts = []
    for i in range(covariance.shape[-1]):
        for j in range(i + 1):
            pair = f"({reader.task(j)}, {reader.task(i)})"
            name = f"covariance of {pair}"
            value = reader.value(covariance[..., i, j], name, "covariance", False)
            parts.append(Node((f"{pair}: ", value)))
    return _leaf(features, f"lookup({what}, {{", parts, "})", sort="tasks")


def _multitask(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    data = _term(kernel.data_covar_module, reader)
    tasks = _lookup(kernel.task_covar_module, "'task'", (), reader)
    return _together("product", "prod([", [data, tasks])


def _scale(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    term = _term(kernel.base_kernel, reader)
    name = "output scale"
    if term.features:
        name += f" of {names_text(term.features)}"
    return _scaled(reader.value(kernel.outputscale, name, "scale"), term)


def _scaled(value: Value, term: _Term) -> _Term:
    return replace(term, node=replace(term.node, head=(value, " * ", *term.node.head)))


def _sum(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    terms = [_term(part, reader) for part in kernel.kernels]
    return _together("sum", "sum([", terms)


def _product(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    terms = [_term(part, reader) for part in kernel.kernels]
    return _together("product", "prod([", terms)


def _mixture(kernel: Kernel, features: Names, reader: Reader) -> _Term:
    terms = [_term(part, reader) for part in kernel.kernels]
    names = [f"weight of {names_text(term.features)}" for term in terms]
    weights = reader.values(kernel.weights, names, "weight", False)
    terms = [_scaled(w, term) for w, term in zip(weights, terms, strict=True)]
    return _together("sum", "sum([", terms)


def _together(role: str, before: str, terms: Sequence[_Term]) -> _Term:
    features = tuple(dict.fromkeys(name for term in terms for name in term.features))
    parts = tuple(
        replace(term.node, comment=(*_comment(term, features), *term.node.comment))
        for term in terms
    )
    sorts = tuple(
        term.sorts[0] if len(set(term.sorts)) == 1 else "mixture" for term in terms
    )
    return _Term(Node((before,), parts, ("])",)), features, sorts, role)


def _comment(term: _Term, features: tuple[str, ...]) -> tuple[str, ...]:
    """What a sum or product of kernels compares; nothing for a single kernel."""
    if not term.role:
        return ()
    text = "joint" if term.role == "product" else "sum"
    if len(set(term.sorts)) == len(term.sorts) and "mixture" not in term.sorts:
        joined = {"product": ("joint", " and "), "sum": ("factorized", " versus ")}
        text, word = joined[term.role]
        text += f": {word.join(term.sorts)}"
    if set(term.features) < set(features):
        text += f", of {names_text(term.features)}"
    return (text,)


FORMULAS: dict[Callable[..., Any], Formula] = {
    kernels.RBFKernel.forward: _distance("rbf(norm_l2(["),
    kernels.MaternKernel.forward: _matern,
    kernels.RQKernel.forward: _rational_quadratic,
    kernels.PeriodicKernel.forward: _periodic,
    kernels.CosineKernel.forward: _cosine,
    kernels.LinearKernel.forward: _linear,
    kernels.PolynomialKernel.forward: _polynomial,
    kernels.ConstantKernel.forward: _constant,
    kernels.HammingIMQKernel.forward: _hamming,
    kernels.IndexKernel.forward: _index,
    kernels.MultitaskKernel.forward: _multitask,
    kernels.ScaleKernel.forward: _scale,
    kernels.AdditiveKernel.forward: _sum,
    kernels.ProductKernel.forward: _product,
    CategoricalKernel.forward: _distance("exp(-mean([", word="differ", sort="choices"),
    ChoiceKernel.forward: _distance("exp(-norm_l1([", sort="choices"),
    WeightedMixtureKernel.forward: _mixture,
}
"""By `forward` of a kernel, the function that writes its formula."""

SHOWN = {
    "raw_alpha",
    "raw_beta",
    "raw_constant",
    "raw_covar_factor",
    "covar_factor",
    "raw_fractions",
    "raw_lengthscale",
    "raw_offset",
    "raw_outputscale",
    "raw_period_length",
    "raw_var",
    "raw_variance",
}
"""Parameters that the formulas show; others are named in a comment."""
