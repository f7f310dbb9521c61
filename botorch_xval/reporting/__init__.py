"""What fitted models and their comparison look like: text, tables, plots, pages.

* `describe` writes a model as text and formulas, `write_page` as a web page; `Course`
  adds the iterations of its fit.
* `hyperparameters` is the table of a model's values with bounds and priors;
  `summarize_fits` says in words what looks wrong, `optima` in which optima the
  searches of each model have ended.
* `botorch_xval.reporting.plots` has plots, and `botorch_xval.reporting.report` the
  report of a comparison. Both import matplotlib, so they are not imported here.
"""

from botorch_xval.reporting.course import Course
from botorch_xval.reporting.diagnosis import summarize_fits
from botorch_xval.reporting.expressions import Description, describe, write_page
from botorch_xval.reporting.hyperparameters import hyperparameters
from botorch_xval.reporting.optima import describe_optimum, optima

__all__ = [
    "Course",
    "Description",
    "describe",
    "describe_optimum",
    "hyperparameters",
    "optima",
    "summarize_fits",
    "write_page",
]
