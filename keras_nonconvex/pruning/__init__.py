"""Structural removal: plan, mask, rebuild."""

from keras_nonconvex.pruning import budget
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning import sampled
from keras_nonconvex.pruning.budget import measure
from keras_nonconvex.pruning.criteria import criterion
from keras_nonconvex.pruning.iteration import iterative
from keras_nonconvex.pruning.planned import LayerPlan
from keras_nonconvex.pruning.planned import PruningPlan
from keras_nonconvex.pruning.planning import check
from keras_nonconvex.pruning.planning import plan
from keras_nonconvex.pruning.planning import prune
from keras_nonconvex.pruning.rules import CannotFollow
from keras_nonconvex.pruning.rules import Rule
from keras_nonconvex.pruning.rules import rule

__all__ = [
    "CannotFollow",
    "LayerPlan",
    "PruningPlan",
    "Rule",
    "budget",
    "check",
    "criteria",
    "criterion",
    "iterative",
    "measure",
    "plan",
    "prune",
    "rule",
    "sampled",
]
