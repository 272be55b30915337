"""TFMOT's magnitude pruning, for `tfmot_pruning.py`, in its own process.

python tfmot_worker.py FOLDER
"""

import json
import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
sys.path.insert(
    0, str(pathlib.Path(__file__).parents[1] / "tflite_export/qat/keras2")
)

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
import worker


def main(folder):
    job = json.loads((folder / "job.json").read_text())
    tf_keras.utils.set_random_seed(0)
    model = worker.equal_twin(job, folder, lambda **told: print(told))
    x, y = (np.load(folder / f"{name}.npy") for name in "xy")
    steps = job["epochs"] * -(-len(x) // job["batch_size"])
    sparsity = tfmot.sparsity.keras
    pruned = sparsity.prune_low_magnitude(
        model,
        # As in TFMOT's guide: the last third of the steps at full sparsity.
        sparsity.PolynomialDecay(
            0.5, job["zeros"], 0, end_step=2 * steps // 3, frequency=50
        ),
    )
    pruned.compile(
        tf_keras.optimizers.Adam(
            tf_keras.optimizers.schedules.CosineDecay(1e-3, steps)
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    pruned.fit(
        x,
        y,
        batch_size=job["batch_size"],
        epochs=job["epochs"],
        callbacks=[sparsity.UpdatePruningStep()],
        verbose=2,
    )
    weights = sparsity.strip_pruning(pruned).get_weights()
    np.savez(folder / "pruned.npz", *weights)
    (folder / "result.json").write_text("{}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
