"""Steps of a run: each is done once, by whichever process gets to it first.

What a step makes and measures is on disk when it is done. A run that goes on
after an interruption, and a second process that joins a run, therefore do the
same: whatever is left and can be done.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable

import filelock
import keras

# How often a process looks whether another one is done, in seconds.
_LOOK = 0.5


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of a run.

    Args:
        name: A string that can be a file's name, such as `"prune.small"`.
        work: A function without arguments that makes the files and returns
            what was measured, a dict that JSON can hold.
        needs: The names of the steps that must be done before.
        makes: The paths of the files that are there when it is done.
    """

    name: str
    work: Callable[[], dict]
    needs: tuple[str, ...] = ()
    makes: tuple[pathlib.Path, ...] = ()


def carry_out(steps, records, seed=0):
    """Does the steps that are not done, each as soon as it can be.

    Args:
        steps: A list of `Step`, in the order in which one process alone does
            them.
        records: The `Records` of the run.
        seed: What each step starts from where it is random, whichever process
            does it, and whatever that has done before. Defaults to `0`.

    Returns:
        Whether the folder of the run is still to be finished. If not, another
        process has finished it.
    """
    while left := [step for step in steps if not _done(step, records)]:
        if not records.exist():
            return False
        if not any(_tried(step, steps, records, seed) for step in left):
            # Others are at all that can be done now.
            time.sleep(_LOOK)
    return records.exist()


def _done(step, records):
    return records.done(step.name) and all(path.exists() for path in step.makes)


def _tried(step, steps, records, seed):
    """Does a step, if it can be done and no other process is at it."""
    before = [other for other in steps if other.name in step.needs]
    if not all(_done(other, records) for other in before):
        return False
    try:
        with records.lock(step.name):
            if not _done(step, records):
                keras.utils.set_random_seed(seed)
                start = time.monotonic()
                measured = step.work()
                records.write(step.name, measured, time.monotonic() - start)
            return True
    except filelock.Timeout:
        return False
