"""What a cross-validation found: held-out predictions, their scores, and the fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model
from torch import Tensor

from botorch_xval.cross_validation import scores
from botorch_xval.cross_validation.elpd_data import make_elpd_data
from botorch_xval.cross_validation.fold_records import FoldFit, tabulate_fits
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.folds_like import Groups, list_labels
from botorch_xval.cross_validation.linked import POINTS, Linked
from botorch_xval.cross_validation.mixtures import Mixture
from botorch_xval.cross_validation.points import Points
from botorch_xval.cross_validation.result_file import read_result, write_result
from botorch_xval.cross_validation.sampling import Estimate
from botorch_xval.fitting.records import FitRecord

__all__ = ["CrossValidation"]

PASS = "pass one of `cross_validate`"  # what to do instead of something else


@dataclass(frozen=True)
class CrossValidation:
    """Held-out predictions, one per point, on the outcome's own scale.

    A point is a row that a fold holds out. Points are in the order of their rows; a row
    that several folds hold out (repeated folds) comes once for each repetition, all
    first ones before all second ones. Points of a fold whose fit failed are NaN.
    """

    rows: Tensor
    """Row of each point, `k`."""

    fold_of: Tensor
    """Number of the fold that predicts it, `k`."""

    mean: Tensor
    """Predicted means, `k x m`."""

    variance: Tensor
    """Predicted variances of observations, `k x m`."""

    noise_variance: Tensor
    """The part of these that is observation noise, `k x m`; after a nonlinear transform
    what noise adds to the variance."""

    observed: Tensor
    """Observed outcomes, `k x m`; NaN where there is none."""

    location: Tensor
    """Location of the outcome transform of the fold (a mean), `k x m`; of links, if
    there are some."""

    scale: Tensor
    """Scale of the outcome transform of the fold (a standard deviation), `k x m`; of
    links, if there are some."""

    baseline: Tensor
    """Mean outcomes of the training rows of the fold, `k x m`."""

    folds: Folds
    """The folds."""

    fits: list[FoldFit]
    """How each fold was fitted, in their order; with several outputs those of each."""

    failed: dict[str, str]
    """By name of a fold without a score the reason: it could not be built or fitted, or
    has no prediction."""

    whitened: Tensor | None = None
    """Errors in predicted deviations with their correlation removed, `k x m`, for a
    normality plot: leave-one-out errors are correlated even where the model is right.
    The correlation is that of the fit to all rows; None without one, with failed folds,
    or where a row is held out twice."""

    linked: Linked | None = None
    """Predictions where they are Gaussian, if a model has `Log`, `Power` or `Bilog`."""

    mixture: Mixture | None = None
    """Predictions that are no single Gaussian: of "posterior", of fully Bayesian models
    and of ensembles. Scores and intervals are those of the mixture, of which `mean` and
    `variance` are the moments; with `linked` it is a mixture of the links."""

    estimate: Estimate | None = None
    """Of "sampled": the sum of the log densities, from exact refits of some folds. The
    points of folds that were not refitted have their approximate predictions."""

    corrected: float | None = None
    """Of "fixed": `elpd` without its optimism to first order, which is the sum of the
    folds' squared influences (Takeuchi 1976): about what refits would give where no
    influence is large; None where influences have no closed form, and where models are
    not fitted by the evidence, of which this holds."""

    full_evaluations: int = 0
    """What the fit to all rows and its Hessian took, if there was one."""

    models: list[Model] | None = None
    """The fitted model of each fold, if they were to be kept; not saved to a file. A
    fold whose model could not be built has none."""

    full_model: Model | None = None
    """The model of all rows, if there was one and models were to be kept."""

    @property
    def _points(self) -> Points:
        values = {name: getattr(self, name) for name in POINTS}
        return Points(**values, linked=self.linked, mixture=self.mixture)

    @property
    def evaluations(self) -> int:
        """Number of evaluations of losses, with those of the fit to all rows."""
        return self.full_evaluations + sum(r.evaluations for r in self.records)

    @property
    def records(self) -> list[FitRecord]:
        """The courses of the fits, in the order of the folds."""
        return [fit.record for fit in self.fits]

    @property
    def log_density(self) -> Tensor:
        """Log predictive densities of the observed outcomes in nats, `k x m`.

        Those of the outcomes themselves, also after a nonlinear transform.
        """
        if self.mixture is not None:
            return self.mixture.log_density(self.observed, self._points.links)
        return self._points.scored("outcome", True)["log_density"]

    @property
    def z_scores(self) -> Tensor:
        """Errors in predicted deviations, `k x m`, where predictions are Gaussian.

        Of a mixture the normal quantiles of what is below the observed outcomes.
        """
        if self.mixture is not None:
            return self.mixture.z_score(self.observed, self._points.links)
        return self._points.scored("outcome", True)["z_score"]

    @property
    def summed_log_density(self) -> Tensor:
        """Log predictive densities in nats, summed over the observed outputs, `k`.

        NaN where one of these has no score.
        """
        return self.log_density.where(~self.observed.isnan(), 0.0).sum(dim=-1)

    @property
    def clusters(self) -> Tensor:
        """The cluster of each point, `k`: the number of its row's label if there are
        groups, else its row. Points of one cluster are not independent.
        """
        rows, groups = self.rows.cpu(), self.folds.groups
        return rows if groups is None else groups[rows]

    @property
    def elpd(self) -> float:
        """Sum over rows of the log predictive density, in nats.

        A row that is held out several times counts with its mean. Points without a
        score are left out; NaN if there is no other. Of "sampled" it is the estimate.
        """
        if self.estimate is not None:
            return self.estimate.elpd
        values = self.summed_log_density.cpu()
        known = ~values.isnan()
        if not known.any():
            return math.nan
        rows = self.rows[known].cpu()
        times = torch.bincount(rows)[rows]
        return (values[known] / times).sum().item()

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of `elpd` by which draws were made, in nats.

        By the delta method (Vehtari et al. 2024, section 6), with the effective draws
        of :meth:`fit_table`. It says nothing of other data, nor of a mode that no draw
        has met. NaN where nothing was drawn.
        """
        drawn = {fit.fold for fit in self.fits if not math.isnan(fit.effective_draws)}
        if self.mixture is None or not drawn:
            return math.nan
        relative = self.mixture.relative_errors(self.observed, self._points.links)
        count = 1 / (self.mixture.weights**2).sum(dim=-2)  # if draws are independent
        effective = count.clone()
        for fit in self.fits:
            if not math.isnan(fit.effective_draws):
                effective[self.fold_of == fit.fold, fit.output] = fit.effective_draws
        relative = relative * (count / effective).sqrt()
        relative = relative.where(~self.observed.isnan(), 0.0)
        known = relative[~relative.isnan().any(dim=-1)]
        rows = self.rows[~relative.isnan().any(dim=-1).cpu()].cpu()
        times = torch.bincount(rows)[rows].to(known)
        return float(((known / times[:, None]) ** 2).sum().sqrt())

    def to_frame(self, scale: str = "outcome", noise: bool = True) -> pd.DataFrame:
        """All points and their scores as a table.

        Args:
            scale: "outcome", or "model": that of the fold's transformed (standardized)
                outcomes, on which log densities of different data compare.
            noise: Whether to score the prediction of an observation, or that of the
                noiseless outcome (whose intervals a noisy observation misses).

        Returns:
            One row per point and output: `row`, `fold` (name), `output`, `observed`,
            `mean`, `deviation` (predicted standard deviation), `lower` and `upper`
            (central interval of 95 %), `log_density` (nats), `squared_error`,
            `absolute_error`, `crps`, `z_score`, `pit`; in `attrs` the two arguments.
        """
        mean, variance, observed, _ = self._points.on(scale, noise)
        k, m = mean.shape
        scored = self._points.scored(scale, noise)
        columns = {
            "observed": observed,
            "mean": mean,
            "deviation": variance.sqrt(),
            "lower": scored["lower"],
            "upper": scored["upper"],
            "log_density": scored["log_density"],
            "squared_error": scores.squared_error(mean, observed),
            "absolute_error": (observed - mean).abs(),
            "crps": scored["crps"],
            "z_score": scored["z_score"],
            "pit": torch.special.ndtr(scored["z_score"]),
        }
        frame = pd.DataFrame(
            {
                "row": np.repeat(self.rows.cpu().numpy(), m),
                "fold": np.repeat([self.folds.names[i] for i in self.fold_of], m),
                "output": np.tile(np.arange(m), k),
                **{n: v.reshape(-1).cpu().numpy() for n, v in columns.items()},
            }
        )
        frame.attrs.update(scale=scale, noise=noise)
        return frame

    def summary(
        self,
        scale: str = "outcome",
        noise: bool = True,
        by: Groups | None = None,
    ) -> pd.DataFrame:
        """Scores of each output over the points that have one.

        Args:
            scale: See :meth:`to_frame`.
            noise: See :meth:`to_frame`.
            by: A label of each row of the data, `n`, such as its task: scores of the
                rows of each label.

        Returns:
            One row per output (and label, in the order of first rows), with the columns
            of :func:`~botorch_xval.cross_validation.summarize`. Points of repeated
            folds count one by one; standard errors know that they and those of one
            group are not independent.
        """
        parts, scored = self._points.on(scale, noise), self._points.scored(scale, noise)
        labels = None
        if by is not None:
            labels = np.array(
                list_labels(by, self.folds.held_out.shape[1], "by"), object
            )
            labels = labels[self.rows.cpu().numpy()]
        rows, index = [], []
        for label in [None] if labels is None else list(dict.fromkeys(labels)):
            for j in range(self.mean.shape[-1]):
                known = ~(parts[0][:, j] + parts[2][:, j]).isnan()
                if labels is not None:
                    known &= torch.tensor(labels == label).to(known.device)
                mean, variance, observed, baseline = (p[known, j].cpu() for p in parts)
                own = {name: part[known, j].cpu() for name, part in scored.items()}
                clusters = self.clusters[known.cpu()]
                parts_of = mean, variance, observed, baseline, own, clusters
                rows.append(scores.summarize(*parts_of))
                index.append(j if labels is None else (label, j))
        frame = pd.DataFrame(rows, pd.Index(index))
        frame.index.names = ["output"] if labels is None else ["label", "output"]
        frame.attrs.update(scale=scale, noise=noise)
        return frame

    def ax_diagnostics(self, noise: bool = False) -> pd.DataFrame:
        """Ax's diagnostics, one row per output, by Ax's names and to its values.

        Args:
            noise: Whether standard errors are those of observations. Ax's are those of
                the noiseless outcome unless it is told otherwise.
        """
        mean, variance, observed, _ = self._points.on("outcome", noise)
        known = ~(mean + observed).isnan()
        frame = pd.DataFrame(
            [
                scores.ax_diagnostics(
                    mean[known[:, j], j].cpu().numpy(),
                    variance[known[:, j], j].sqrt().cpu().numpy(),
                    observed[known[:, j], j].cpu().numpy(),
                )
                for j in range(mean.shape[-1])
            ]
        )
        frame.index.name = "output"
        return frame

    def fit_table(self) -> pd.DataFrame:
        """How every fold was fitted, one row per fold and output.

        Columns: `fold`, `output`, `how`, `influence` (posterior standard deviations),
        `gradient_norm` (per training point, by logarithms), `condition` (of the
        Hessian of the full fit), `step_length`, `at_bounds`, `loss` (per point),
        `cold_loss` (of "warm" folds the lowest from their own starts; NaN if there were
        none), `pareto_k` and `effective_draws` (NaN where hyper-parameters are not
        integrated out), `evaluations`, `status`, `message`; see
        :class:`~botorch_xval.fitting.FitRecord`.
        """
        return tabulate_fits(self.fits, self.folds.names)

    def to_arviz(self) -> Any:
        """Pointwise scores as ArviZ has them: its `compare` and plots take them.

        Needs ArviZ, of the extra `arviz`. Results of the same rows are compared by
        `arviz.compare({"a": a.to_arviz(), "b": b.to_arviz()})`, whose standard errors
        take all rows as independent; ours are in :func:`difference`.

        Returns:
            An `ELPDData` with `elpd`, its standard error `se` (of clusters) and a log
            density for each row, summed over outputs; a row that is held out several
            times has its mean. See
            :func:`~botorch_xval.cross_validation.elpd_data.make_elpd_data`.

        Raises:
            ModuleNotFoundError: If there is no ArviZ.
            UnsupportedError: If the result is of `fit="sampled"`.
            ValueError: If a row has no score. ArviZ compares rows by their places.
        """
        if self.estimate is not None:
            raise UnsupportedError(
                "to_arviz: expected a score of every row, got an estimate of their sum "
                "(fit='sampled'); use fit='adaptive' with threshold=math.inf"
            )
        values = pd.Series(self.summed_log_density.cpu().numpy())
        by_row = values.groupby(self.rows.cpu().numpy()).mean()
        if (missing := by_row.index[by_row.isna()]).size:
            raise ValueError(
                "to_arviz: expected a score of every row, got none of "
                f"{len(missing)} rows, such as {missing[0]}, whose folds failed; "
                "`compare` leaves such rows out for all, and `Comparison.to_arviz` has "
                "the others"
            )
        groups = self.folds.groups
        return make_elpd_data(
            by_row,
            None if groups is None else groups.numpy()[by_row.index],
            num_folds=len(self.folds.names),
            num_points=len(self.rows),
            omits_rows=self.folds.omits_rows,
        )

    def save(self, path: str | Path) -> None:
        """Write everything to one file (NumPy's `.npz`; numbers and text only)."""
        write_result(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> CrossValidation:
        """Read what :meth:`save` has written; tensors are on the CPU.

        Raises:
            ValueError: If the file is something else, whatever it is.
        """
        return cls(**read_result(path))
