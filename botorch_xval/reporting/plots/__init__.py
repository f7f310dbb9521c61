"""Plots of fits, comparisons and cross-validations.

A plot takes a result and draws on `ax=` (one axes) or `axes=` (several), new ones by
default. It returns the axes that it drew on; `ax.figure.savefig(...)` saves the figure.
No plot changes a setting of matplotlib.

* Of fits: `plot_losses`, `plot_active_models`, `plot_evaluations`, `LiveLosses`.
* Of a comparison: `plot_ranking`, `plot_scores`, `plot_differences`,
  `plot_comparison`, and `plot_learning_curve` of its curves; of a search `plot_search`.
* Of a cross-validation: `plot_predictions`, `plot_residuals`, `plot_normal_quantiles`,
  `plot_pit`, `plot_calibration`, `plot_influence`, `plot_pareto_k`, and the most
  telling six of these in one figure, `plot_diagnostics`; `plot_trace` over the rows in
  their order; `plot_pointwise` of a difference between two; `plot_hyperparameters` of
  the table of its models.
"""

from botorch_xval.reporting.plots.calibration import (
    plot_calibration,
    plot_normal_quantiles,
    plot_pit,
)
from botorch_xval.reporting.plots.comparison import (
    plot_comparison,
    plot_differences,
    plot_ranking,
    plot_scores,
)
from botorch_xval.reporting.plots.diagnostics import plot_diagnostics
from botorch_xval.reporting.plots.fits import (
    LiveLosses,
    plot_active_models,
    plot_evaluations,
    plot_losses,
)
from botorch_xval.reporting.plots.hyperparameters import (
    plot_hyperparameters,
    plot_influence,
    plot_pareto_k,
)
from botorch_xval.reporting.plots.learning_curve import plot_learning_curve
from botorch_xval.reporting.plots.search import plot_search
from botorch_xval.reporting.plots.trace import plot_trace
from botorch_xval.reporting.plots.validation import (
    plot_pointwise,
    plot_predictions,
    plot_residuals,
)

__all__ = [
    "LiveLosses",
    "plot_active_models",
    "plot_calibration",
    "plot_comparison",
    "plot_diagnostics",
    "plot_differences",
    "plot_evaluations",
    "plot_hyperparameters",
    "plot_influence",
    "plot_learning_curve",
    "plot_losses",
    "plot_normal_quantiles",
    "plot_pareto_k",
    "plot_pit",
    "plot_pointwise",
    "plot_predictions",
    "plot_ranking",
    "plot_residuals",
    "plot_scores",
    "plot_search",
    "plot_trace",
]
