"""Coupled groups: one group per class of channels, across layers."""

from keras_nonconvex.training.coupled.base import Coupled
from keras_nonconvex.training.coupled.envelope import CoupledEnvelope
from keras_nonconvex.training.coupled.groups import CoupledGroups

__all__ = ["Coupled", "CoupledEnvelope", "CoupledGroups"]
