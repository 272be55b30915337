"""What runs LiteRT files: this machine, or an Arm processor under qemu."""

import dataclasses
import platform
import re
import subprocess
import sys
import tempfile

import numpy as np

from arm import debian
from arm import infer

# 7.2 is refused: with it LiteRT's look at the processor crashes, and `-cpu
# max` computes int8 convolutions as zeros, without a word.
OLDEST_QEMU = 8


class Failed(RuntimeError):
    """A machine that did not run the files, or is not what it should be."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """Something that runs LiteRT files.

    Attributes:
        name: For people.
        python: The command of its Python, with numpy and LiteRT.
        architecture: What that Python must say it runs on.
    """

    name: str
    python: tuple
    architecture: str

    def run(self, paths, batches, progress=lambda done: None):
        """Outputs of the files, each on its batch of images, as arrays."""
        with (
            tempfile.NamedTemporaryFile(suffix=".npz") as images,
            tempfile.NamedTemporaryFile(suffix=".npz") as outputs,
            tempfile.TemporaryFile("w+") as errors,
        ):
            np.savez(images, *batches)
            images.flush()
            # -P: the modules beside the script are not for it.
            command = [*self.python, "-P", infer.__file__]
            command += [images.name, outputs.name, *map(str, paths)]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process:
                for done, _ in enumerate(process.stdout, 1):
                    progress(done)
            if process.returncode:
                errors.seek(0)
                last = errors.read().strip().splitlines()[-1:] or ["silent"]
                raise Failed(
                    f"{self.name} did not run the files (exit code "
                    f"{process.returncode}: {last[0]})"
                )
            with np.load(outputs.name) as found:
                if found["machine"] != self.architecture:
                    raise Failed(
                        f"{self.name} must be {self.architecture}. "
                        f"Received: {found['machine']}"
                    )
                return [found[f"arr_{i}"] for i in range(len(batches))]


def this():
    """The machine and the Python that run this."""
    name = platform.machine()
    return Machine(name, (sys.executable,), name)


def is_arm():
    """Whether this machine runs Arm code by itself."""
    return platform.machine() in ("aarch64", "arm64")


def emulated(root, cpu):
    """An Arm processor under qemu.

    Args:
        root: What `debian.install` returns.
        cpu: A processor that qemu knows, such as "cortex-a76".
    """
    qemu = str(root / "qemu-aarch64")
    done = subprocess.run([qemu, "--version"], capture_output=True, text=True)
    version = check_version(done.stdout)
    python = (
        *(qemu, "-cpu", cpu, "-L", str(root / "debian")),
        *("-E", f"PYTHONPATH={root / 'packages'}"),
        str(root / "debian/usr/bin/python3"),
    )
    return Machine(f"{cpu} (qemu {version})", python, "aarch64")


def check_version(text):
    """The version that `qemu --version` prints, if it can be trusted."""
    version = re.search(r"version ([\d.]+)", text)[1]
    if int(version.split(".")[0]) < OLDEST_QEMU:
        raise debian.Unavailable(
            f"qemu must have version {OLDEST_QEMU} or newer; older ones crash "
            f"in LiteRT or compute zeros. Received: version={version}"
        )
    return version
