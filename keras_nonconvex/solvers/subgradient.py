"""Subgradient: the penalty's gradient goes through the optimizer."""

from keras_nonconvex.solvers.base import Solver


class Subgradient(Solver):
    """Adds strength * r'(|w|) sign(w) to the gradient, before the step.

    As a stock `keras.Model` does, and as network slimming does on the scales
    of batch normalization (Liu et al. 2017; Bui, Park, Zhang, Qi, Xin,
    Improving Network Slimming with Nonconvex Regularization, 2021). Weights
    end near zero and not at it: prune by a percentile of their size. With
    this solver a `StrengthSchedule` acts on them.
    """

    def check_optimizer(self, model):
        """Any will do: there are no zeros to lose."""

    def parts(self, regularizer):
        return regularizer, None
