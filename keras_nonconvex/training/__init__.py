"""Training: the model with a solver, penalties on and off, recovery."""

from keras_nonconvex.training.attachment import attach
from keras_nonconvex.training.attachment import strip
from keras_nonconvex.training.coupled import CoupledEnvelope
from keras_nonconvex.training.coupled import CoupledGroups
from keras_nonconvex.training.flow import feature_flow
from keras_nonconvex.training.model import ProximalMixin
from keras_nonconvex.training.model import ProximalModel
from keras_nonconvex.training.recovery import fine_tune
from keras_nonconvex.training.recovery import recalibrate
from keras_nonconvex.training.strength import strength_max
from keras_nonconvex.training.strength import strength_path

__all__ = [
    "CoupledEnvelope",
    "CoupledGroups",
    "ProximalMixin",
    "ProximalModel",
    "attach",
    "feature_flow",
    "fine_tune",
    "recalibrate",
    "strength_max",
    "strength_path",
    "strip",
]
