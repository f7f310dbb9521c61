"""Bad data and arguments of models, kernels and priors."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from gpytorch.kernels import RBFKernel
from gpytorch.priors import GammaPrior

from bad_inputs.case import INF, NAN, X, Y, spoiled, table_of
from botorch_xval.models import (
    BetaPrior,
    DirichletPrior,
    FactorizedScalarChoiceKernel,
    ModelSpec,
    PriorConfiguration,
    ScalarChoiceGP,
    ScaledVariance,
    StructuredGP,
    WeightedMixtureKernel,
    default_configurations,
    default_model,
    first_specs,
    name_of_priors,
    neighbors,
)

GP = partial(ScalarChoiceGP, X, Y)
BOTH = [RBFKernel(), RBFKernel()]


def of_data(model, of):
    """The cases that all models have in common: their training data."""
    return table_of(
        of,
        ("inputs as a list", lambda: model(X.tolist(), Y), "train_X: expected a tensor",
         "list", "torch.as_tensor"),
        ("outcomes as an array", lambda: model(X, Y.numpy()),
         "train_Y: expected a tensor", "ndarray", "torch.as_tensor"),
        ("no outcomes", lambda: model(X, None), "train_Y: expected a tensor", "None", ";"),
        ("whole numbers", lambda: model(X.long(), Y), "train_X: expected floating",
         "int64", "double"),
        ("other precision", lambda: model(X, Y.float()), "train_Y: expected .*float64",
         "float32", r"\.to"),
        ("one dimension", lambda: model(X[:, 0], Y), "train_X: expected .*n x d",
         r"\(8,\)", ";"),
        ("outcomes of one dimension", lambda: model(X, Y[:, 0]),
         "train_Y: expected .*n x m", r"\(8,\)", "unsqueeze"),
        ("other rows", lambda: model(X, Y[:5]), "train_Y: expected .*8", r"\(5, 1\)", ";"),
        ("other batch", lambda: model(X.expand(2, 8, 2), Y.expand(3, 8, 1)),
         "train_Y: expected", r"\(3, 8, 1\)", ";"),
        ("no rows", lambda: model(X[:0], Y[:0]), "train_X: expected at least one row",
         r"\(0, 2\)", ";"),
        ("no columns", lambda: model(X[:, :0], Y), "train_X: expected at least one",
         r"\(8, 0\)", ";"),
        ("no outcome", lambda: model(X, Y[:, :0]), "train_Y: expected at least one",
         r"\(8, 0\)", ";"),
        ("NaN inputs", lambda: model(spoiled(X, NAN), Y), "train_X: expected finite",
         "nan", ";"),
        ("infinite inputs", lambda: model(spoiled(X, INF), Y), "train_X: expected finite",
         "inf", ";"),
        ("NaN outcomes", lambda: model(X, spoiled(Y, NAN)), "train_Y: expected finite",
         "nan", ";"),
        ("infinite outcomes", lambda: model(X, spoiled(Y, -INF)),
         "train_Y: expected finite", "-inf", ";"),
        ("noise as a number", lambda: model(X, Y, 0.1), "train_Yvar: expected a tensor",
         "float", ";"),
        ("noise of another shape", lambda: model(X, Y, Y[:, 0]),
         "train_Yvar: expected .*n x m", r"\(8,\)", ";"),
        ("negative noise", lambda: model(X, Y, -torch.ones_like(Y)),
         "train_Yvar: expected .*0", "-1", ";"),
        ("NaN noise", lambda: model(X, Y, spoiled(Y.abs(), NAN)),
         "train_Yvar: expected", "nan", ";"),
    )  # fmt: skip


def of_choices(model, of):
    """The cases of a column number."""
    return table_of(
        of,
        ("nested choice_dims", lambda: model([[0, 1]]), "choice_dims: expected",
         r"\[0, 1\]", r"\[4, 5\]"),
        ("choice_dims as text", lambda: model("01"), "choice_dims: expected", "'01'", ";"),
        ("choice_dims that are text", lambda: model(["0"]), "choice_dims: expected",
         "'0'", ";"),
        ("choice_dims as a number", lambda: model(1), "choice_dims: expected", "1", ";"),
        ("none", lambda: model(None), "choice_dims: expected", "None", ";"),
        ("choice_dims as floats", lambda: model([1.0]), "choice_dims: expected", "1.0",
         ";"),
        ("choice_dims as a mask", lambda: model([False, True]), "choice_dims: expected",
         "False", ";"),
    )  # fmt: skip


MODELS = [
    *of_data(ScalarChoiceGP, "ScalarChoiceGP"),
    *of_data(StructuredGP, "StructuredGP"),
    *of_data(default_model, "models.default_model"),
    *of_choices(lambda dims: GP(choice_dims=dims), "ScalarChoiceGP"),
    *of_choices(lambda dims: ModelSpec(choice_dims=dims), "ModelSpec"),
    *of_choices(default_configurations, "models.default_configurations"),
    *of_choices(lambda dims: first_specs(2, dims), "models.first_specs"),
]
OWN = [
    *table_of(
        "ScalarChoiceGP",
        ("no such column", lambda: GP(choice_dims=[2]), "choice_dims: expected .*-2 to 1",
         "2", ";"),
        ("a column twice", lambda: GP(choice_dims=[1, -1]),
         "choice_dims: expected different", r"\[1, -1\]", ";"),
        ("unknown priors", lambda: GP(priors="tigth"), "priors: expected one of",
         "'tigth'", ";"),
        ("priors as a list", lambda: GP(priors=["tight"]), "priors: expected one of",
         r"\['tight'\]", ";"),
    ),
    *table_of(
        "PriorConfiguration",
        ("one number", lambda: PriorConfiguration(3.0, (2, 1), (1, 1), (1, 1)),
         "lengthscale: expected two positive", "3.0", ";"),
        ("negative", lambda: PriorConfiguration((3, 6), (2, -1), (1, 1), (1, 1)),
         "outputscale: expected two positive", r"\(2, -1\)", ";"),
        ("NaN", lambda: PriorConfiguration((3, 6), (2, 1), (NAN, 1), (1, 1)),
         "noise: expected two positive", "nan", ";"),
        ("text", lambda: PriorConfiguration((3, 6), (2, 1), (1, 1), "11"),
         "weight: expected two positive", "'11'", ";"),
    ),
    *table_of(
        "ModelSpec",
        ("unknown kernel", lambda: ModelSpec("matern"), "kernel: expected one of",
         "'matern'", ";"),
        ("a list", lambda: ModelSpec(inputs=["ard"]), "inputs: expected one of",
         r"\['ard'\]", ";"),
        ("unknown choices", lambda: ModelSpec(choices="all"), "choices: expected one of",
         "'all'", ";"),
        ("a number for a truth value", lambda: ModelSpec(linear=2), "linear: expected",
         "2", ";"),
        ("an array", lambda: ModelSpec(warped=np.ones(2)), "warped: expected", "array", ";"),
        ("unknown priors", lambda: ModelSpec(priors="Botorch"), "priors: expected one of",
         "'Botorch'", ";"),
        ("choices without columns", lambda: ModelSpec(choices="joint"),
         "choice_dims: expected", "none", "numbers"),
    ),
    *table_of(
        "StructuredGP",
        ("a dictionary", lambda: StructuredGP(X, Y, spec={"kernel": "rbf"}),
         "spec: expected a ModelSpec", "dict", "ModelSpec"),
        ("text", lambda: StructuredGP(X, Y, spec="rbf"), "spec: expected a ModelSpec",
         "str", "ModelSpec"),
        ("no such column", lambda: StructuredGP(X, Y, spec=ModelSpec(choice_dims=(5,))),
         "choice_dims: expected .*-2 to 1", "5", ";"),
        ("a column twice", lambda: StructuredGP(X, Y, spec=ModelSpec(choice_dims=(0, 0))),
         "choice_dims: expected different", r"\(0, 0\)", ";"),
    ),
    *table_of(
        "models.first_specs",
        ("no inputs", lambda: first_specs(0), "d: expected .*1 on", "0", ";"),
        ("text", lambda: first_specs("2"), "d: expected .*1 on", "'2'", ";"),
        ("no such column", lambda: first_specs(2, [7]), "choice_dims: expected", "7", ";"),
    ),
    *table_of(
        "models.neighbors",
        ("text", lambda: neighbors("rbf", 2), "spec: expected a ModelSpec", "str", ";"),
        ("no inputs", lambda: neighbors(ModelSpec(), 0), "d: expected", "0", ";"),
        ("a float", lambda: neighbors(ModelSpec(), 2.0), "d: expected", "2.0", ";"),
        ("no outputs", lambda: neighbors(ModelSpec(), 2, 0), "num_outputs: expected", "0",
         ";"),
    ),
    *table_of(
        "models.name_of_priors",
        ("unknown", lambda: name_of_priors("wide"), "priors: expected one of", "'wide'",
         ";"),
        ("none", lambda: name_of_priors(None), "priors: expected one of", "None", ";"),
    ),
]  # fmt: skip
KERNELS = [
    *table_of(
        "FactorizedScalarChoiceKernel",
        ("no scalars", lambda: FactorizedScalarChoiceKernel([], [0]),
         "scalar_dims: expected at least one", "none", "ScaleKernel"),
        ("no choices", lambda: FactorizedScalarChoiceKernel([0], []),
         "choice_dims: expected at least one", "none", "ScaleKernel"),
        ("negative", lambda: FactorizedScalarChoiceKernel([-1], [0]),
         "scalar_dims: expected columns from 0", "-1", ";"),
        ("a column twice", lambda: FactorizedScalarChoiceKernel([0], [1, 1]),
         "choice_dims: expected different", r"\[1, 1\]", ";"),
        ("a column in both", lambda: FactorizedScalarChoiceKernel([0, 1], [1]),
         "choice_dims: expected no column", r"\[1\] in both", ";"),
        ("nested", lambda: FactorizedScalarChoiceKernel([0], [[1, 2]]),
         "choice_dims: expected", r"\[1, 2\]", r"\[4, 5\]"),
        ("a number", lambda: FactorizedScalarChoiceKernel(0, [1]),
         "scalar_dims: expected", "0", ";"),
        ("text", lambda: FactorizedScalarChoiceKernel("0", [1]),
         "scalar_dims: expected", "'0'", ";"),
        ("no prior", lambda: FactorizedScalarChoiceKernel([0], [1], weights_prior=3.0),
         "weights_prior: expected a GPyTorch prior", "float", ";", TypeError),
    ),
    *table_of(
        "WeightedMixtureKernel",
        ("one kernel", lambda: WeightedMixtureKernel(BOTH[:1]), "kernels: expected at le",
         "1", ";"),
        ("none", lambda: WeightedMixtureKernel([]), "kernels: expected at least 2", "0", ";"),
        ("a kernel", lambda: WeightedMixtureKernel(RBFKernel()),
         "kernels: expected a Sequence", "RBFKernel", ";"),
        ("a number", lambda: WeightedMixtureKernel([RBFKernel(), 3]),
         "kernels: expected .*Kernel", "int", ";"),
        ("another batch", lambda: WeightedMixtureKernel(BOTH, batch_shape=torch.Size([2])),
         "kernels: expected batch shape", r"\(\)", "batch_shape"),
        ("no prior", lambda: WeightedMixtureKernel(BOTH, weights_prior="beta"),
         "weights_prior: expected a GPyTorch prior", "str", ";", TypeError),
        ("a prior of three", lambda: WeightedMixtureKernel(
         BOTH, weights_prior=DirichletPrior([1.0, 1.0, 1.0])),
         "weights_prior: expected event shape", r"\(3,\)", "BetaPrior"),
        ("a prior of one for three", lambda: WeightedMixtureKernel(
         [*BOTH, RBFKernel()], weights_prior=GammaPrior(1.0, 1.0)),
         "weights_prior: expected event shape", r"\(\)", "DirichletPrior"),
        ("weights of another sum",
         lambda: setattr(WeightedMixtureKernel(BOTH), "weights", [0.5, 0.6]),
         "weights: expected positive ones of sum 1", "0.6", ";"),
        ("three weights",
         lambda: setattr(WeightedMixtureKernel(BOTH), "weights", [0.2, 0.3, 0.5]),
         "weights: expected shape", r"\(3,\)", ";"),
        ("weights of NaN",
         lambda: setattr(WeightedMixtureKernel(BOTH), "weights", [NAN, 0.5]),
         "weights: expected positive", "nan", ";"),
    ),
    *table_of(
        "BetaPrior",
        ("zero", lambda: BetaPrior(0.0, 1.0), "concentration1: expected positive", "0", ";"),
        ("negative", lambda: BetaPrior(1.0, -1.0), "concentration0: expected positive",
         "-1", ";"),
        ("NaN", lambda: BetaPrior(NAN, 1.0), "concentration1: expected positive", "nan", ";"),
        ("infinite", lambda: BetaPrior(INF, 1.0), "concentration1: expected positive",
         "inf", ";"),
        ("text", lambda: BetaPrior("a", 1.0), "concentration1: expected", "'a'", ";"),
        ("none", lambda: BetaPrior(1.0, None), "concentration0: expected", "None", ";"),
        ("shapes", lambda: BetaPrior(torch.ones(2), torch.ones(3)),
         "concentration0: expected", r"\(3,\)", ";"),
    ),
    *table_of(
        "DirichletPrior",
        ("one", lambda: DirichletPrior([1.0]), "concentration: expected shape", r"\(1,\)",
         ";"),
        ("a number", lambda: DirichletPrior(1.0), "concentration: expected", r"\(\)", ";"),
        ("text", lambda: DirichletPrior("ab"), "concentration: expected", "'ab'", ";"),
        ("negative", lambda: DirichletPrior([1.0, -1.0]), "concentration: expected pos",
         "-1", ";"),
        ("nested", lambda: DirichletPrior([[1.0, 2.0]]), "concentration: expected",
         r"\[\[1.0", ";"),
    ),
    *table_of(
        "models.ScaledVariance",
        ("zero", lambda: ScaledVariance([0.0]), "factor: expected a positive", "0.0", ";"),
        ("NaN", lambda: ScaledVariance([NAN]), "factor: expected a positive", "nan", ";"),
        ("none", lambda: ScaledVariance([]), "factor: expected a positive", r"\[\]", ";"),
        ("text", lambda: ScaledVariance("2"), "factor: expected a positive", "'2'", ";"),
        ("other outputs", lambda: default_model(X, Y).posterior(
         X, posterior_transform=ScaledVariance([1.0, 2.0])),
         "posterior: expected 2 outputs", "1", ";"),
    ),
]  # fmt: skip
CASES = [*MODELS, *OWN, *KERNELS]
