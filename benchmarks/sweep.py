"""How the bundled table of tuning trials was made.

A small network (three convolutions, two dense layers) is trained on scikit-learn's 8x8
digits, once per point of a scrambled Sobol sequence over 20 logarithmic scalars and two
choices. The validation loss of a trial is the mean cross-entropy in nats on a fixed
stratified third of the digits. A trial has diverged when a training loss is not finite
or the validation loss ends above `DIVERGED`; it stays in the table without a loss.

    python benchmarks/sweep.py --trials 448 --workers 2

Every finished trial is appended to the table at once; running the command again goes on
where the table ends. A trial is a function of its number (point and seed) and of the
torch version: another version or processor changes the last digits of a loss.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import torch
from scipy.stats import qmc
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR

TABLE = Path(__file__).parents[1] / "botorch_xval" / "data" / "tuning_trials.csv"
SOBOL_SEED = 2024
DIVERGED = 2 * math.log(10)  # twice the loss of a uniform guess, in nats

# name: (lower, upper, whole number, optimizer for which it is active)
SCALARS: dict[str, tuple[float, float, bool, str | None]] = {
    "epochs": (2, 60, True, None),
    "batch_size": (16, 1024, True, None),
    "conv1_weight_decay": (1e-7, 0.3, False, None),
    "conv2_weight_decay": (1e-7, 0.3, False, None),
    "conv3_weight_decay": (1e-7, 0.3, False, None),
    "dense1_weight_decay": (1e-7, 0.3, False, None),
    "dense2_weight_decay": (1e-7, 0.3, False, None),
    "lr_initial_fraction": (1 / 80, 1 / 2, False, None),  # of lr_max
    "lr_final_fraction": (1 / 30000, 1 / 100, False, None),  # of lr_max
    "lr_warmup_fraction": (0.01, 0.5, False, None),  # of all steps
    "lr_max": (0.01, 20, False, None),
    "momentum_damping_max": (1e-4, 1, False, "sgd"),  # damping = 1 - momentum
    "momentum_damping_min_fraction": (0.1, 1, False, "sgd"),
    "beta1_damping_max": (1e-4, 0.5, False, "adam"),
    "beta1_damping_min_fraction": (0.1, 1, False, "adam"),
    "beta2_damping": (1e-4, 0.5, False, "adam"),
    "conv1_channels": (4, 64, True, None),
    "conv2_channels": (8, 128, True, None),
    "conv3_channels": (16, 256, True, None),
    "dense1_units": (8, 256, True, None),
}
COLUMNS = ["trial", "optimizer", "nesterov", *SCALARS]
COLUMNS += ["loss", "accuracy", "seconds", "seed"]
# `lr_max` is the rate of plain gradient descent. With momentum, which lengthens every
# step by 1 / damping, SGD takes `lr_max * damping`; Adam, whose steps do not shrink
# with the gradient, takes this share of it.
ADAM_RATE = 1e-2


def configuration(trial: int) -> dict[str, str | float | int | None]:
    """The configuration of a trial, in its own units; None where inactive."""
    sobol = qmc.Sobol(d=len(SCALARS) + 2, scramble=True, rng=SOBOL_SEED)
    if trial:  # SciPy cannot skip zero points
        sobol.fast_forward(trial)
    point = sobol.random(1)[0]
    optimizer = "adam" if point[0] < 0.5 else "sgd"
    config: dict[str, str | float | int | None] = {"optimizer": optimizer}
    config["nesterov"] = ("true" if point[1] < 0.5 else "false") * (optimizer == "sgd")
    for u, (name, (low, high, whole, needs)) in zip(
        point[2:], SCALARS.items(), strict=True
    ):
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        value = round(value) if whole else float(f"{value:.6g}")
        config[name] = value if needs in (None, optimizer) else None
    return config


def network(config: dict) -> nn.Sequential:
    """Three convolutions, two dense layers, for `b x 1 x 8 x 8` images."""
    c1, c2, c3 = (config[f"conv{i}_channels"] for i in (1, 2, 3))
    units = config["dense1_units"]
    norm = partial(nn.BatchNorm2d, affine=False)
    return nn.Sequential(
        nn.Conv2d(1, c1, 3, padding=1), norm(c1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(c1, c2, 3, padding=1), norm(c2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(c2, c3, 3, padding=1), norm(c3), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * c3, units), nn.BatchNorm1d(units, affine=False), nn.ReLU(),
        nn.Linear(units, 10),
    )  # fmt: skip


def optimizer_and_schedule(
    config: dict, net: nn.Sequential, steps: int
) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    """One-cycle learning rate; momentum (or beta1) is lowest where the rate peaks."""
    layers = [m for m in net if isinstance(m, nn.Conv2d | nn.Linear)]
    names = ["conv1", "conv2", "conv3", "dense1", "dense2"]
    groups = [
        {"params": layer.parameters(), "weight_decay": config[f"{name}_weight_decay"]}
        for name, layer in zip(names, layers, strict=True)
    ]
    if config["optimizer"] == "sgd":
        damping = config["momentum_damping_max"]
        least = damping * config["momentum_damping_min_fraction"]
        peak = config["lr_max"] * damping
        optimizer = SGD(
            groups,
            lr=peak,
            momentum=1 - least,
            nesterov=config["nesterov"] == "true",
        )
    else:
        damping = config["beta1_damping_max"]
        least = damping * config["beta1_damping_min_fraction"]
        betas = (1 - least, 1 - config["beta2_damping"])
        peak = ADAM_RATE * config["lr_max"]
        optimizer = Adam(groups, lr=peak, betas=betas)
    schedule = OneCycleLR(
        optimizer,
        max_lr=peak,
        total_steps=steps,
        pct_start=config["lr_warmup_fraction"],
        div_factor=1 / config["lr_initial_fraction"],
        final_div_factor=config["lr_initial_fraction"] / config["lr_final_fraction"],
        base_momentum=1 - damping,
        max_momentum=1 - least,
    )
    return optimizer, schedule


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and validation images (`n x 1 x 8 x 8`, in [0, 1]) and labels (`n`)."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images / 16, labels, test_size=1 / 3, random_state=0, stratify=labels
    )
    train_x, test_x = (
        torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) for x in parts[:2]
    )
    return train_x, torch.tensor(parts[2]), test_x, torch.tensor(parts[3])


def run_trial(trial: int) -> dict[str, str | float | int | None]:
    """Train one network; its row of the table."""
    torch.set_num_threads(1)
    config, seed, start = configuration(trial), trial, time.perf_counter()
    torch.manual_seed(seed)
    train_x, train_y, test_x, test_y = digits()
    net = network(config)
    size = config["batch_size"]
    steps = config["epochs"] * (len(train_x) // size)
    optimizer, schedule = optimizer_and_schedule(config, net, steps)
    finite = True
    for _ in range(config["epochs"]):
        total = 0.0
        order = torch.randperm(len(train_x))[: len(train_x) // size * size]
        for rows in order.split(size):  # an incomplete last batch is left out
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(train_x[rows]), train_y[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if not math.isfinite(total):
            finite = False
            break
    net.eval()
    with torch.no_grad():
        logits = net(test_x)
        loss = nn.functional.cross_entropy(logits.double(), test_y).item()
        accuracy = (logits.argmax(-1) == test_y).double().mean().item()
    finite = finite and math.isfinite(loss) and loss < DIVERGED
    return {
        "trial": trial,
        **config,
        "loss": float(f"{loss:.8g}") if finite else None,
        "accuracy": round(accuracy, 5) if finite else None,
        "seconds": round(time.perf_counter() - start, 2),
        "seed": seed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=448)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", type=Path, default=TABLE)
    args = parser.parse_args()
    done: dict[int, dict] = {}
    if args.table.exists():
        with args.table.open(newline="") as file:
            done = {int(row["trial"]): row for row in csv.DictReader(file)}
    else:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(",".join(COLUMNS) + "\n")
    missing = [t for t in range(args.trials) if t not in done]
    with ProcessPoolExecutor(args.workers) as pool:
        futures = [pool.submit(run_trial, trial) for trial in missing]
        for future in as_completed(futures):
            row = future.result()
            with args.table.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            done[row["trial"]] = row
            print(f"{len(done)}/{args.trials} trial {row['trial']} loss {row['loss']}")
    with args.table.open("w", newline="") as file:  # in the order of the sequence
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(done[trial] for trial in sorted(done))


if __name__ == "__main__":
    main()
