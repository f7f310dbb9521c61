"""A fitted Gaussian process as text, as a notebook shows it, or as a web page.

`describe` turns models into a `Description`: sections of statements, whose formulas are
trees of nodes that hold text and fitted values. `write_page` writes descriptions as a
page; `model_panels` and `document` are its pieces.
"""

from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.page import document, model_panels, write_page
from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Piece,
    Section,
    Statement,
    Value,
    combine,
    format_number,
)

__all__ = [
    "Description",
    "Node",
    "Piece",
    "Section",
    "Statement",
    "Value",
    "combine",
    "describe",
    "document",
    "format_number",
    "model_panels",
    "write_page",
]
