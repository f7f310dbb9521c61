"""Leave-one-out with hyper-parameters integrated out: what are weights worth?

For small real and synthetic data sets the sum of log densities (nats) of

* exact: every fold has draws of its own,
* "posterior": draws of all rows, reweighted, and again drawn where Pareto's k is large,
* weights alone: the same without drawing again,
* 1 / S: the same draws with equal weights, as BoTorch's `ensemble_loo_cv` has it,
* refits: one optimum for each fold, `fit="refit"`.

`python benchmarks/posterior.py` writes `results/posterior.md`; names of problems as
arguments take only these. Counts of evaluations are by the losses of all rows and of
folds that were drawn again.
"""

from __future__ import annotations

import sys
import warnings
from statistics import median

import torch
from fit_speed import RESULTS
from problems import SINGLE

from botorch_xval import CrossValidation, cross_validate
from botorch_xval.cross_validation import posterior

PROBLEMS = ("branin-15", "diabetes-20", "linnerud-20", "copper-25", "hartmann-20")
DRAWS = 1000


def with_limit(limit: float, name: str, seed: int = 0) -> CrossValidation:
    """Folds with a larger Pareto k than this are drawn again."""
    X, Y, build = SINGLE[name]()
    own = posterior.are_trusted
    posterior.are_trusted = lambda shape, *_: shape <= limit
    try:
        return cross_validate(build, X, Y, fit="posterior", draws=DRAWS, seed=seed)
    finally:
        posterior.are_trusted = own


def equal_weights(weighted: CrossValidation) -> float:
    """The sum of log densities if all draws of all rows had the same weight."""
    mixture = weighted.mixture
    z = (weighted.observed[:, None] - mixture.mean) / mixture.variance.sqrt()
    density = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    density = density - 0.5 * mixture.variance.log()
    count = density.new_tensor(density.shape[1])
    return float((density.logsumexp(dim=1) - count.log()).sum())


def measure(name: str) -> dict[str, object]:
    X, Y, build = SINGLE[name]()
    found = cross_validate(build, X, Y, fit="posterior", draws=DRAWS)
    exact = with_limit(-float("inf"), name, seed=1)
    alone = with_limit(float("inf"), name)
    table = found.fit_table()
    return {
        "problem": name,
        "rows": len(X),
        "parameters": sum(
            p.numel() for p in build(X, Y).parameters() if p.requires_grad
        ),
        "exact": exact.elpd,
        "exact error": exact.monte_carlo_error,
        "posterior": found.elpd - exact.elpd,
        "error": found.monte_carlo_error,
        "alone": alone.elpd - exact.elpd,
        "equal": equal_weights(alone) - exact.elpd,
        "refit": cross_validate(build, X, Y).elpd - exact.elpd,
        "again": int((table.how == "redrawn").sum()),
        "shape": float(table.pareto_k.max()),
        "share": found.evaluations / exact.evaluations,
    }


def table(rows: list[dict]) -> str:
    lines = [
        "Leave-one-out with hyper-parameters integrated out, "
        f"{DRAWS} draws; nats, differences to exact draws of every fold.",
        "",
        "| problem | rows | hyper-parameters | exact ± Monte Carlo | posterior ± "
        "| weights alone | 1 / S | refits | folds drawn again | largest Pareto k "
        "| evaluations / exact |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['problem']} | {row['rows']} | {row['parameters']} | "
            f"{row['exact']:.2f} ± {row['exact error']:.2f} | "
            f"{row['posterior']:+.2f} ± {row['error']:.2f} | {row['alone']:+.2f} | "
            f"{row['equal']:+.2f} | {row['refit']:+.2f} | {row['again']} | "
            f"{row['shape']:.2f} | {row['share']:.2f} |"
        )
    sizes = {
        way: median(abs(float(row[way])) for row in rows)
        for way in ("posterior", "alone", "equal", "refit")
    }
    shown = ", ".join(f"{way} {value:.2f}" for way, value in sizes.items())
    return "\n".join([*lines, "", f"Median sizes of the differences: {shown}.", ""])


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for name in sys.argv[1:] or PROBLEMS:
        rows.append(measure(name))
        print(rows[-1], flush=True)
        (RESULTS / "posterior.md").write_text(table(rows))


if __name__ == "__main__":
    main()
