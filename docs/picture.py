"""The picture of the README: python docs/picture.py (about half a minute).

96 reactions with replicates, as in notebooks/chemistry.ipynb: how far each model is
behind the best, and what the best one predicts of rows that it has not seen.
"""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from botorch_xval import compare, cross_validate, encode_table
from botorch_xval.models import default_configurations
from botorch_xval.reporting.plots import plot_differences, plot_predictions

HERE = Path(__file__).parent


def main() -> None:
    path = HERE.parent / "notebooks" / "data" / "reizman_suzuki_case_1.csv"
    published = pd.read_csv(path, skiprows=[1])
    parts = published["catalyst"].str.split("-", expand=True)
    runs = published[["t_res", "temperature", "catalyst_loading", "yld"]].assign(
        palladacycle=parts[0], ligand=parts[1]
    )
    choices = ["palladacycle", "ligand"]
    table = encode_table(runs, target="yld", choices=choices, log_scalars=["t_res"])
    models = default_configurations(table.choice_dims)
    how = {"groups": table.same_inputs, "fit": "warm"}
    result = compare(models, table.X, table.Y, sizes=[48, 72, 96], **how)
    scores = result.table()
    best = scores[(scores["size"] == 96) & (scores["rank"] == 1)].configuration.item()
    held_out = cross_validate(models[best], table.X, table.Y, **how)

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.4), layout="constrained", width_ratios=(1.35, 1)
    )
    plot_differences(result, left)
    left.set_title("Which model predicts new reactions best?", loc="left")
    left.set_xlabel("number of reactions")
    left.legend(loc="lower right", frameon=False)
    plot_predictions(held_out, right)
    summary = held_out.summary().iloc[0]
    right.set_title(f"{best}: held-out yields, R2 {summary.r2:.2f}", loc="left")
    right.set(xlabel="observed yield (%)", ylabel="predicted yield (%)")
    figure.savefig(HERE / "picture.png", dpi=110)


if __name__ == "__main__":
    main()
