"""From a name to the images."""

from keras_nonconvex.datasets import tfds
from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import Images


def load(name):
    """Loads a data set.

    Args:
        name: A string, one of

            - `"digits"`: the 1,797 handwritten digits that ship inside
              scikit-learn, resized to 28 x 28.
            - The path of a `.npz` file with an array `x` of images and, if
              there are labels, an array `y`; or of a `.npy` file with images
              alone. Such a file has no splits: the training and the test
              images are the same. The arrays are returned as they are.
            - A name that you registered with `@knc.datasets.source`.
            - Otherwise an image classification data set of
              tensorflow-datasets with splits "train" and "test", such as
              `"fashion_mnist"`. tensorflow-datasets prepares it once in the
              folder `TFDS_DATA_DIR`, an environment variable, which is
              `~/tensorflow_datasets` by default.

    Returns:
        The `Images`.

    Raises:
        ValueError: No source takes the name, or the file cannot be read.
        NotAvailable: The data set is not prepared on this machine, and its
            server cannot be reached.

    Example:
    >>> data = knc.datasets.load("digits")
    >>> data.x_train.shape, data.classes[:3]
    ((1438, 28, 28, 1), ('0', '1', '2'))
    """
    for source in reversed(REGISTRY.values()):
        if source.takes(name):
            data = source.read(name)
            break
    else:
        data = tfds.read(name)
    if not isinstance(data, Images):
        raise ValueError(
            f"The source of {str(name)!r} must return `datasets.Images`. "
            f"Received: {type(data).__name__}"
        )
    return data
