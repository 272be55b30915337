"""TFMOT's magnitude pruning, in a process of its own with Keras 2.

python tfmot_worker.py FOLDER
"""

import json
import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(
    0, str(pathlib.Path(__file__).parents[1] / "tflite_export/qat/keras2")
)

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
import worker
from against import weights
from augmentation import batches


def main(folder):
    job = json.loads((folder / "job.json").read_text())
    tf_keras.utils.set_random_seed(job["seed"])
    model = worker.equal_twin(job, folder, lambda **told: print(told))
    x, y = (np.load(folder / f"{name}.npy") for name in "xy")
    steps = job["epochs"] * job["steps"]
    sparsity = tfmot.sparsity.keras
    pruned = sparsity.prune_low_magnitude(
        model,
        # As in TFMOT's guide: the last third of the steps at full sparsity.
        sparsity.PolynomialDecay(
            min(0.5, job["zeros"]),
            job["zeros"],
            0,
            end_step=2 * steps // 3,
            frequency=min(50, max(1, steps // 20)),
        ),
    )
    pruned.compile(
        tf_keras.optimizers.deserialize(job["optimizer"]),
        tf_keras.losses.SparseCategoricalCrossentropy(
            from_logits=job["from_logits"]
        ),
        metrics=["accuracy"],
    )
    given = {"x": x, "y": y, "batch_size": job.get("batch_size")}
    if "batch_size" not in job:
        given = {
            "x": batches(x, y, job["seed"]),
            "steps_per_epoch": job["steps"],
        }
    pruned.fit(
        **given,
        epochs=job["epochs"],
        callbacks=[sparsity.UpdatePruningStep()],
        verbose=2,
    )
    stripped = sparsity.strip_pruning(pruned)
    weights.save(
        folder / "pruned.npz",
        {
            layer.name: layer.get_weights()
            for layer in stripped.layers
            if layer.weights
        },
    )
    (folder / "result.json").write_text("{}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
