"""Random batches of CIFAR-10 images, the same ones in every framework.

NumPy alone, so that a process without TensorFlow can import it.
"""

import numpy as np

MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")
BATCH = 128
SHIFT = 4


def batches(x, y, seed=0, size=BATCH):
    """Endless random batches, each image flipped or not, and shifted."""
    rng = np.random.default_rng(seed)
    side = x.shape[1]
    black = -MEAN / STD
    canvas = np.empty((size, side + 2 * SHIFT, side + 2 * SHIFT, 3), "float32")
    canvas[:] = black
    windows = np.lib.stride_tricks.sliding_window_view(
        canvas, (side, side), axis=(1, 2)
    )
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            chosen = order[start : start + size]
            batch = x[chosen]
            flipped = rng.random(size) < 0.5
            batch[flipped] = batch[flipped, :, ::-1]
            canvas[:, SHIFT:-SHIFT, SHIFT:-SHIFT] = batch
            down, right = rng.integers(0, 2 * SHIFT + 1, (2, size))
            cut = windows[np.arange(size), down, right]
            yield np.moveaxis(cut, 1, -1), y[chosen]
