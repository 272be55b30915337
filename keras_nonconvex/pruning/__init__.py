"""Structural removal: plan, mask, rebuild."""

from keras_nonconvex.pruning import budgets as budget
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning.budgets import measure
from keras_nonconvex.pruning.channels.walk import Walk
from keras_nonconvex.pruning.costs import savings
from keras_nonconvex.pruning.criteria import criterion
from keras_nonconvex.pruning.criteria import samples as sampled
from keras_nonconvex.pruning.iteration import iterative
from keras_nonconvex.pruning.planning import plan
from keras_nonconvex.pruning.planning import prune
from keras_nonconvex.pruning.pruning_plan import LayerPlan
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.pruning.refitting.repairing import repair
from keras_nonconvex.pruning.refitting.reporting import Refit
from keras_nonconvex.pruning.rules import CannotFollow
from keras_nonconvex.pruning.rules import Cut
from keras_nonconvex.pruning.rules import Rule
from keras_nonconvex.pruning.rules import Tensor
from keras_nonconvex.pruning.rules import rule

__all__ = [
    "CannotFollow",
    "Cut",
    "LayerPlan",
    "PruningPlan",
    "Refit",
    "Rule",
    "Tensor",
    "Walk",
    "budget",
    "criteria",
    "criterion",
    "iterative",
    "measure",
    "plan",
    "prune",
    "repair",
    "rule",
    "sampled",
    "savings",
]
