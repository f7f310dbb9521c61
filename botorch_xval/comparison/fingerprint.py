"""Whether two runs were given the same thing: a hash of values, functions and classes.

Equal in every process for numbers, text, tensors, arrays, modules, containers,
objects and `functools.partial`. Functions and classes that belong to installed
packages count by their names. Others (lambdas, closures, factories in a script) count
by their bytecode, constants, defaults and closures, and by the numbers, functions and
classes that they refer to by a global name. That is the best that can be done without
running them: what a function reads from a file, from the environment or from a global
list is not seen, and another version of Python makes other bytecode.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

__all__ = ["fingerprint"]

PLAIN = (int, float, complex, str, bytes, bool, type(None))


def fingerprint(value: Any) -> str:
    """A hash, equal for equal values.

    Args:
        value: Anything, see above.

    Returns:
        Hexadecimal digits.
    """
    digest = sha256()
    for part in _parts(value, {}):
        digest.update(part.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()


def _parts(value: Any, seen: dict[Any, int]) -> Iterator[str]:
    """The description of a value, piece by piece."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
        return
    if isinstance(value, (FunctionType, type)):
        if value in seen:  # a function may refer to itself
            yield f"as number {seen[value]}"
            return
        seen[value] = len(seen)
    if isinstance(value, torch.Tensor):
        yield from _array(value.detach().cpu().resolve_conj().numpy(), "tensor")
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield from _array(value, "array")
    elif isinstance(value, torch.nn.Module):
        yield f"module {_without_address(value)}"
        yield from _parts(type(value), seen)
        yield from _parts(dict(value.state_dict()), seen)
    elif isinstance(value, partial):
        yield "partial"
        yield from _parts((value.func, value.args, value.keywords), seen)
    elif isinstance(value, MethodType):
        yield "method"
        yield from _parts((value.__func__, value.__self__), seen)
    elif isinstance(value, FunctionType):
        yield f"function {_name(value)}"
        if not _installed(value):
            yield from _function(value, seen)
    elif isinstance(value, type):
        yield f"class {_name(value)}"
        if not _installed(value):
            yield from _parts((value.__bases__, _body(value)), seen)
    elif isinstance(value, CodeType):
        yield from _code(value, seen)
    elif is_dataclass(value):
        yield "dataclass"
        yield from _parts(type(value), seen)
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        yield from _parts(own, seen)
    elif isinstance(value, dict):
        yield f"{len(value)} items"
        for key in sorted(value, key=repr):
            yield from _parts(key, seen)
            yield from _parts(value[key], seen)
    elif isinstance(value, (list, tuple)):
        yield f"{type(value).__name__} of {len(value)}"
        for item in value:
            yield from _parts(item, seen)
    elif isinstance(value, (set, frozenset)):
        yield f"set of {len(value)}"  # in another order in every process
        yield from sorted(fingerprint(item) for item in value)
    elif id(value) in seen:
        yield f"as number {seen[id(value)]}"
    else:
        yield f"object {_without_address(value)}"
        yield from _parts(type(value), seen)
        if not _installed(type(value)):
            seen[id(value)] = len(seen)
            yield from _parts(getattr(value, "__dict__", None), seen)


def _array(values: np.ndarray, what: str) -> Iterator[str]:
    content = sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    yield f"{what} {values.dtype} {values.shape} {content}"


def _function(function: FunctionType, seen: dict[Any, int]) -> Iterator[str]:
    yield from _parts((function.__defaults__, function.__kwdefaults__), seen)
    yield from _code(function.__code__, seen)
    for cell in function.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, seen)
        except ValueError:  # a name that is not bound yet
            yield "unbound"
    known = (*PLAIN, FunctionType, type)
    for name in sorted(_names(function.__code__)):
        used = function.__globals__.get(name)
        if isinstance(used, known):
            yield f"global {name}"
            yield from _parts(used, seen)


def _code(code: CodeType, seen: dict[Any, int]) -> Iterator[str]:
    yield code.co_code.hex()
    yield f"{code.co_names} {code.co_varnames} {code.co_freevars}"
    yield from _parts(code.co_consts, seen)


def _names(code: CodeType) -> set[str]:
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*(_names(part) for part in inner))


def _body(cls: type) -> dict[str, Any]:
    """What a class defines itself: methods and plain values."""
    body = {}
    for name, value in vars(cls).items():
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            value = (value.fget, value.fset)
        dunder = name.startswith("__") and not isinstance(value, FunctionType)
        if isinstance(value, (*PLAIN, FunctionType, tuple, list)) and not dunder:
            body[name] = value
    return body


def _installed(value: FunctionType | type) -> bool:
    if "<locals>" in value.__qualname__ or "<lambda>" in value.__qualname__:
        return False
    module = sys.modules.get(value.__module__)
    file = getattr(module, "__file__", None)
    # Built into Python, of its standard library, or installed by pip.
    return value.__module__ != "__main__" and (
        file is None
        or "-packages" in file
        or value.__module__.partition(".")[0] in sys.stdlib_module_names
    )


def _name(value: FunctionType | type) -> str:
    module = "" if value.__module__ == "__mp_main__" else value.__module__
    return f"{module}.{value.__qualname__}".replace("__main__.", ".")


def _without_address(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
