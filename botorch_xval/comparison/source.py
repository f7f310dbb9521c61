"""The source text of a function, so that any version of Python finds the same.

Uses the standard library only. Text is read from the file as it is now: a function
whose file was changed after it was imported has the text of the changed file.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
import tokenize
from collections.abc import Iterator
from io import StringIO
from types import CodeType

__all__ = ["source_text"]


def source_text(code: CodeType) -> str | None:
    """The text of a function without comments, blank lines and common indentation.

    Args:
        code: Of the function (`function.__code__`).

    Returns:
        The text, with decorators; of a lambda from `lambda` to its end. None if there
        is no source: for code of `exec`, of an interactive session, or generated.
    """
    if code.co_filename == "<string>":  # of `exec`; Python 3.13 has other text for it
        return None
    try:
        if code.co_name == "<lambda>":
            text = _lambda_text(code)
        else:
            text = inspect.getsource(code)
        return None if text is None else _without_comments(text)
    except (OSError, SyntaxError, tokenize.TokenError):
        return None


def _lambda_text(code: CodeType) -> str | None:
    """One of several lambdas in a line is known by the columns of its code."""
    inspect.findsource(code)  # fills the cache of lines, or raises OSError
    lines = linecache.getlines(code.co_filename)
    text = "".join(lines)
    lambdas = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)
    ]
    places = [place for place in _places(code) if place[0] < place[1]]
    if places:
        first, last = min(p[0] for p in places), max(p[1] for p in places)
        containing = [
            node
            for node in lambdas
            if (node.body.lineno, node.body.col_offset) <= first
            and last <= (node.body.end_lineno or 0, node.body.end_col_offset or 0)
        ]
        containing.sort(key=lambda node: (node.lineno, node.col_offset))
        found = containing[-1:]  # the innermost one
    else:  # Python 3.12 keeps no column of a constant
        found = [node for node in lambdas if node.lineno == code.co_firstlineno]
    texts = {ast.get_source_segment(text, node) for node in found}
    # In parentheses, since a lambda may go on in the next line.
    return f"({texts.pop()})" if len(texts) == 1 else None


def _places(code: CodeType) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the instructions of a function begin and end, by line and byte."""
    for line, end_line, column, end_column in code.co_positions():
        if line and end_line and column is not None and end_column is not None:
            yield (line, column), (end_line, end_column)


def _without_comments(text: str) -> str:
    lines = text.split("\n")
    kept: set[int] = set()
    layout = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(StringIO("\n".join(lines) + "\n").readline):
        first, last = token.start[0] - 1, token.end[0] - 1
        if token.type == tokenize.COMMENT:
            lines[first] = lines[first][: token.start[1]].rstrip()
        elif token.type not in layout and token.string:
            kept.update(range(first, last + 1))
    # Last, since a comment may stand further to the left.
    return textwrap.dedent("\n".join(lines[i] for i in sorted(kept)))
