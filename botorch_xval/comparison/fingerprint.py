"""Whether two runs were given the same thing: a hash of values, functions and classes.

It is equal in every process and every version of Python for numbers, text, tensors,
arrays, modules, containers, objects and `functools.partial`. Functions and classes of
installed packages, and those of this one, count by their names. Others (lambdas,
closures, factories in a script) count by module, qualified name and source text without
comments and blank lines, by defaults and closures, and by the numbers, functions and
classes that they refer to by a global name.

That is the best that can be done without running them. What a function reads from a
file, from the environment or from a global list is not seen. Where there is no source
text (code of `exec` or `python -c`), bytecode takes its place, which another version of
Python compiles differently.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

from botorch_xval.comparison.source import source_text

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
    for line in _describe(value, {}):
        digest.update(line.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()


def _describe(value: Any, seen: dict[Any, int]) -> Iterator[str]:
    """Lines that are the same for equal values; `seen` numbers what was described."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
        return
    if isinstance(value, (FunctionType, type)):
        if value in seen:  # a function may refer to itself
            yield f"as number {seen[value]}"
            return
        seen[value] = len(seen)
    if isinstance(value, torch.Tensor):
        yield _array(value.detach().cpu().resolve_conj().numpy(), "tensor")
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield _array(value, "array")
    elif isinstance(value, torch.nn.Module):
        yield f"module {_without_address(value)}"
        yield from _describe(type(value), seen)
        yield from _describe(dict(value.state_dict()), seen)
        for name, part in value.named_modules():
            yield f"settings of {name}"
            yield from _describe(_settings(part), seen)
    elif isinstance(value, partial):
        yield "partial"
        yield from _describe((value.func, value.args, value.keywords), seen)
    elif isinstance(value, MethodType):
        yield "method"
        yield from _describe((value.__func__, value.__self__), seen)
    elif isinstance(value, FunctionType):
        yield f"function {_name(value)}"
        if not _installed(value):
            yield from _function(value, seen)
    elif isinstance(value, type):
        yield f"class {_name(value)}"
        if not _installed(value):
            yield from _describe((value.__bases__, _body(value)), seen)
    elif is_dataclass(value):
        yield "dataclass"
        yield from _describe(type(value), seen)
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        yield from _describe(content, seen)
    elif isinstance(value, dict):
        yield f"{len(value)} items"
        for key in sorted(value, key=repr):
            yield from _describe(key, seen)
            yield from _describe(value[key], seen)
    elif isinstance(value, (list, tuple)):
        yield f"{type(value).__name__} of {len(value)}"
        for item in value:
            yield from _describe(item, seen)
    elif isinstance(value, (set, frozenset)):
        yield f"set of {len(value)}"  # in another order in every process
        yield from sorted(fingerprint(item) for item in value)
    elif id(value) in seen:
        yield f"as number {seen[id(value)]}"
    else:
        yield f"object {_without_address(value)}"
        yield from _describe(type(value), seen)
        if not _installed(type(value)):
            seen[id(value)] = len(seen)
            yield from _describe(getattr(value, "__dict__", None), seen)


def _array(values: np.ndarray, what: str) -> str:
    content = sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return f"{what} {values.dtype} {values.shape} {content}"


def _settings(module: torch.nn.Module) -> dict[str, Any]:
    """What a module has beside parameters, buffers and parts, such as `nu`."""
    simple = (*PLAIN, tuple, list, torch.Tensor, FunctionType, BuiltinFunctionType)
    own = {n: v for n, v in vars(module).items() if isinstance(v, simple)}
    own.pop("training", None)
    return own


def _function(function: FunctionType, seen: dict[Any, int]) -> Iterator[str]:
    code = function.__code__
    yield from _describe((function.__defaults__, function.__kwdefaults__), seen)
    text = source_text(code)
    if text is None:
        yield from _bytecode(code)
    else:
        yield f"source {text}"
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in sorted(cells, key=lambda pair: pair[0]):
        yield f"closure {name}"
        try:
            yield from _describe(cell.cell_contents, seen)
        except ValueError:  # a name that is not bound yet
            yield "unbound"
    known = (*PLAIN, FunctionType, type)
    for name in sorted(_names(code)):
        used = function.__globals__.get(name)
        if isinstance(used, known):
            yield f"global {name}"
            yield from _describe(used, seen)


def _bytecode(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield f"{code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _bytecode(constant)
        else:
            yield from _describe(constant, {})


def _names(code: CodeType) -> set[str]:
    inner = (item for item in code.co_consts if isinstance(item, CodeType))
    return set(code.co_names).union(*(_names(item) for item in inner))


def _body(cls: type) -> dict[str, Any]:
    """What a class defines itself: methods and plain values."""
    body: dict[str, Any] = {}
    for name, value in vars(cls).items():
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            value = (value.fget, value.fset)
        dunder = name.startswith("__") and name.endswith("__")
        if dunder and not isinstance(value, FunctionType):
            continue
        if isinstance(value, FunctionType) and _generated(cls, value):
            continue
        if isinstance(value, (*PLAIN, FunctionType, tuple, list)):
            body[name] = value
    if is_dataclass(cls):
        described = [(f.name, f.default, f.default_factory) for f in fields(cls)]
        body["fields of the dataclass"] = described
    return body


def _generated(cls: type, method: FunctionType) -> bool:
    """Whether Python itself has made a method: of other code in every version."""
    name, file = method.__name__, method.__code__.co_filename
    return name.startswith("__annotate") or (is_dataclass(cls) and file == "<string>")


def _installed(value: FunctionType | type) -> bool:
    if "<locals>" in value.__qualname__ or "<lambda>" in value.__qualname__:
        return False
    module = value.__module__ or ""  # None, of code that was run without a name
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names or package == "botorch_xval":
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return module != "__main__" and "-packages" in (file or "")


def _name(value: FunctionType | type) -> str:
    module = "" if value.__module__ == "__mp_main__" else value.__module__ or ""
    return f"{module}.{value.__qualname__}".replace("__main__.", ".")


def _without_address(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
