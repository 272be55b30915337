"""Torch-Pruning on a CIFAR-10 ResNet, in a process of its own.

`python -P torch_worker.py FOLDER` reads FOLDER/job.json and the arrays that
`theirs.py` wrote, and writes the weights of each stage and FOLDER/result.json.
Nothing of Keras is imported, so it may run in an environment of its own.
"""

import importlib.metadata
import json
import math
import os
import pathlib
import platform
import statistics
import sys
import time

# Waiting threads leave the cores to others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Last, so that the modules there hide no others of their names.
sys.path.append(str(pathlib.Path(__file__).parents[1]))

import numpy as np
import torch
import torch_pruning as tp
from augmentation import MEAN
from augmentation import STD
from augmentation import batches
from torch import nn
from torch.nn import functional

from against import weights as weights_

# How finely Torch-Pruning approaches the budget, as in its own experiments.
STEPS = 400
# The strength of sparse learning in its own experiments on CIFAR.
STRENGTH = 5e-4


class ResNet(nn.Module):
    """The network of `weights.py`; its modules have the names there."""

    def __init__(self, weights):
        super().__init__()
        self.blocks = weights_.blocks(weights)
        for name, arrays in weights.items():
            self.add_module(name, self._module(name, arrays, weights))

    def _module(self, name, arrays, weights):
        tensors = [torch.from_numpy(a.copy()) for a in arrays]
        if len(arrays) == 4:
            made = nn.BatchNorm2d(len(arrays[0]))
            values = (made.weight, made.bias, made.running_mean)
            values += (made.running_var,)
        elif len(arrays) == 2:
            made = nn.Linear(*arrays[0].shape)
            values = (made.weight, made.bias)
            tensors[0] = tensors[0].T
        else:
            size, _, given, filters = arrays[0].shape
            block = name.removesuffix("conv1").removesuffix("short")
            stride = 2 if f"{block}short" in weights else 1
            made = nn.Conv2d(
                given, filters, size, stride, size // 2, bias=False
            )
            values = (made.weight,)
            tensors[0] = tensors[0].permute(3, 2, 0, 1)
        with torch.no_grad():
            for value, tensor in zip(values, tensors, strict=True):
                value.copy_(tensor)
        return made

    def weights(self):
        """{layer name: arrays as Keras lays them out}."""
        return {
            name: [a.detach().numpy() for a in _arrays(module)]
            for name, module in self.named_children()
        }

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:

            def of(name, given, block=block):
                return self.get_submodule(f"{block}{name}")(given)

            y = functional.relu(of("bn1", of("conv1", x)))
            y = of("bn2", of("conv2", y))
            if f"{block}short" in self._modules:
                x = of("short", x)
            x = functional.relu(x + y)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.linear(x)


def _arrays(module):
    if isinstance(module, nn.BatchNorm2d):
        return (
            module.weight,
            module.bias,
            module.running_mean,
            module.running_var,
        )
    if isinstance(module, nn.Linear):
        return module.weight.T, module.bias
    return (module.weight.permute(2, 3, 1, 0),)


def main(folder):
    job = json.loads((folder / "job.json").read_text())
    torch.manual_seed(job["seed"])
    images = np.load(folder / "x.npy").astype("float32") / np.float32(255)
    x, y = (images - MEAN) / STD, np.load(folder / "y.npy").astype("int64")
    chosen = np.load(folder / "chosen.npy")
    sample = _tensor(np.load(folder / "sample.npy"))
    model = ResNet(weights_.load(folder / "dense.npz"))

    def write(stage):
        weights_.save(folder / f"{stage}.npz", model.weights())
        with torch.inference_mode():
            logits = model.eval()(sample)
        np.save(folder / f"{stage}_logits.npy", logits.numpy())
        print(f"{stage}: {weights_.counted(model.weights(), job['positions'])}")

    write("unchanged")
    start = time.perf_counter()
    pruner = made_pruner(model, job["method"])
    if job["method"] == "group_norm":
        train(model, x, y, job, pruner)
    if job["method"] == "taylor":
        gradients(model, x[chosen], y[chosen], job["gradient_samples"])
    within_budget(pruner, model, job)
    seconds = time.perf_counter() - start
    write("pruned")
    recalibrate(model, x[chosen], job["batch"])
    write("recalibrated")
    if job["epochs"]:
        train(model, x, y, job)
        write("fine_tuned")
    dense = ResNet(weights_.load(folder / "dense.npz"))
    small_ms, dense_ms = latency(model, dense, sample[:1], job["runs"])
    result = {
        "seconds": seconds,
        "torch_ms": small_ms,
        "dense_torch_ms": dense_ms,
        "versions": "Torch-Pruning "
        f"{importlib.metadata.version('torch-pruning')}, torch "
        f"{torch.__version__}, Python {platform.python_version()}",
    }
    (folder / "result.json").write_text(json.dumps(result))


def made_pruner(model, method):
    """Torch-Pruning's pruner, as its experiments on CIFAR make it."""
    kind, options = tp.pruner.BasePruner, {}
    if method == "magnitude":
        importance = tp.importance.GroupMagnitudeImportance(p=2)
    elif method == "bn_scale":
        importance = tp.importance.BNScaleImportance()
    elif method == "taylor":
        importance = tp.importance.GroupTaylorImportance()
    else:
        importance = tp.importance.GroupMagnitudeImportance(
            p=2, normalizer="max"
        )
        kind, options = tp.pruner.GroupNormPruner, {"reg": STRENGTH}
    return kind(
        model,
        torch.zeros(1, 3, 32, 32),
        importance,
        global_pruning=True,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=[model.linear],
        **options,
    )


def within_budget(pruner, model, job):
    """Prunes step by step until the network is within the budget."""
    while any(
        weights_.counted(model.weights(), job["positions"])[key] > limit
        for key, limit in job["budget"].items()
    ):
        if pruner.current_step == STEPS:
            raise ValueError("The budget was not reached")
        pruner.step()


def gradients(model, x, y, samples, batch=64):
    """Adds up the gradients of the loss over batches, as Taylor wants them."""
    model.eval()
    model.zero_grad()
    for start in range(0, samples, batch):
        part = slice(start, start + batch)
        functional.cross_entropy(
            model(_tensor(x[part])), torch.from_numpy(y[part])
        ).backward()


def recalibrate(model, x, batch):
    """The statistics of batch normalizations become means over batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for start in range(0, len(x) - batch + 1, batch):
            model(_tensor(x[start : start + batch]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def train(model, x, y, job, pruner=None):
    """SGD on random batches; with a pruner its regularization is added."""
    steps = job["epochs"] * (len(x) // job["batch"])
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), job["rate"], job["momentum"], nesterov=True
    )
    given = batches(x, y, job["seed"])
    start = time.perf_counter()
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = job["rate"] * cosine
        images, labels = next(given)
        optimizer.zero_grad()
        loss = functional.cross_entropy(
            model(_tensor(images)), torch.from_numpy(labels)
        )
        loss.backward()
        if pruner is not None:
            pruner.regularize(model)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(
                f"step {step + 1}/{steps}: loss {loss.item():.4f}, "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )


def latency(small, dense, x, runs):
    """Median milliseconds of both on one thread, run in turn."""
    torch.set_num_threads(1)
    times = {small: [], dense: []}
    for model in times:
        model.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for run in range(runs + runs // 10):
            for model in times:
                start = time.perf_counter()
                model(x)
                if run >= runs // 10:
                    times[model].append(time.perf_counter() - start)
    return [1e3 * statistics.median(taken) for taken in times.values()]


def _tensor(x):
    """Images with channels last in memory, which is faster on a CPU."""
    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
