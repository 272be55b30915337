"""Subgradient: the penalty's gradient goes through the optimizer."""

from keras_nonconvex.solvers.base import Solver


class Subgradient(Solver):
    """Adds strength * r'(|w|) sign(w) to the gradient, before the step.

    A stock `keras.Model` does the same, and so does network slimming on the
    scales of batch normalization. Weights end near zero and not at it: rank
    them by size to prune. Over the stock model this solver has one advantage:
    a `StrengthSchedule` changes the strength. It takes no arguments and works
    with every optimizer and regularizer.

    Example:
    ```python
    model.compile("adam", "mse", solver=knc.solvers.Subgradient())
    ```

    References: Liu et al., Learning Efficient Convolutional Networks through
    Network Slimming, 2017; Bui, Park, Zhang, Qi, Xin, Improving Network
    Slimming with Nonconvex Regularization, 2021.
    """

    def check_optimizer(self, model):
        """Accepts every optimizer: there are no zeros to lose."""

    def parts(self, regularizer):
        return regularizer, None
