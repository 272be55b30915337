"""Runs LiteRT files; needs nothing but numpy and ai-edge-litert.

    python infer.py images.npz outputs.npz FILE.tflite ...

`images.npz` holds one batch per file, in their order, and so does what is
written: `outputs.npz`, with the name of the machine. One line is printed per
file when it is done.
"""

import platform
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(path, images):
    """Outputs of a file with batch size 1 on a batch of images."""
    model = Interpreter(path, num_threads=1)
    model.allocate_tensors()
    (source,) = model.get_input_details()
    (target,) = model.get_output_details()
    outputs = []
    for image in images:
        model.set_tensor(source["index"], image[None])
        model.invoke()
        outputs.append(model.get_tensor(target["index"])[0])
    return np.stack(outputs)


def main(images, outputs, *paths):
    found = []
    with np.load(images) as batches:
        for path, key in zip(paths, batches.files, strict=True):
            found.append(run(path, batches[key]))
            print(path, flush=True)
    np.savez(outputs, *found, machine=platform.machine())


if __name__ == "__main__":
    main(*sys.argv[1:])
