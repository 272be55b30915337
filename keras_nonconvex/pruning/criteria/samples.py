"""Criteria that look at samples."""

from keras_nonconvex.pruning.criteria import activations
from keras_nonconvex.pruning.criteria import gradients
from keras_nonconvex.pruning.criteria import loss_rise
from keras_nonconvex.pruning.criteria.activations import *  # noqa: F403
from keras_nonconvex.pruning.criteria.gradients import *  # noqa: F403
from keras_nonconvex.pruning.criteria.loss_rise import *  # noqa: F403

__all__ = []
__all__ += activations.__all__
__all__ += gradients.__all__
__all__ += loss_rise.__all__
