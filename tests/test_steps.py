"""Steps of a run: done once, resumed, and shared among processes."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import filelock
import pytest

from keras_nonconvex import run_folder
from keras_nonconvex.compression.records import Records
from keras_nonconvex.compression.steps import Step
from keras_nonconvex.compression.steps import carry_out


def chain(folder, names, log, pause=0.0, fail=None):
    """Steps that need each other, each of which writes a file and a line."""

    def work(name):
        if name == fail:
            raise RuntimeError(name)
        time.sleep(pause)
        with open(log, "a") as lines:
            lines.write(f"{name} {os.getpid()}\n")
        (folder / f"{name}.file").write_text(name)
        return {"name": name}

    return [
        Step(
            name,
            lambda name=name: work(name),
            needs=tuple(names[max(i - 1, 0) : i]),
            makes=(folder / f"{name}.file",),
        )
        for i, name in enumerate(names)
    ]


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "steps"
    folder.mkdir()
    (folder / run_folder.BEGUN).touch()
    return Records(folder)


def done(log):
    return [line.split()[0] for line in log.read_text().splitlines()]


def test_each_step_is_done_once_after_those_that_it_needs(records, tmp_path):
    log = tmp_path / "log"
    # In another order: c needs b, which needs a.
    steps = chain(tmp_path, "abc", log)[::-1]
    assert carry_out(steps, records)
    assert carry_out(steps, records)
    assert done(log) == ["a", "b", "c"]
    assert records.measured("b") == {"name": "b"}
    costs = records.costs()
    assert list(costs) == ["a", "b", "c"]
    assert all(
        c["seconds"] >= 0 and c["peak_bytes"] > 0 for c in costs.values()
    )


def test_what_failed_or_lost_its_file_is_done_again(records, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(RuntimeError, match="c"):
        carry_out(chain(tmp_path, "abcd", log, fail="c"), records)
    assert done(log) == ["a", "b"]
    (tmp_path / "b.file").unlink()
    carry_out(chain(tmp_path, "abcd", log), records)
    assert done(log) == ["a", "b", "b", "c", "d"]


def apart(folder, names, log, pause):
    records = Records(folder / "steps")
    # No step needs another one: all processes can be at work.
    steps = [
        Step(step.name, step.work, (), step.makes)
        for step in chain(folder, names, log, pause)
    ]
    carry_out(steps, records)


def test_processes_share_the_steps(records, tmp_path):
    log = tmp_path / "log"
    # Forked: no process imports everything anew.
    fork = multiprocessing.get_context("fork")
    names = [f"step{i}" for i in range(8)]
    helpers = [
        fork.Process(target=apart, args=(tmp_path, names, log, 0.05))
        for _ in range(2)
    ]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join(30)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(name for name, _ in lines) == names
    assert len({process for _, process in lines}) == 2


def test_the_step_of_a_killed_process_is_taken_over(records, tmp_path):
    log = tmp_path / "log"
    fork = multiprocessing.get_context("fork")
    helper = fork.Process(target=apart, args=(tmp_path, "ab", log, 60))
    helper.start()
    while not (records.folder / "a.lock").exists():
        time.sleep(0.01)
    with pytest.raises(filelock.Timeout):
        with records.lock("a"):
            pass
    os.kill(helper.pid, signal.SIGKILL)
    helper.join()
    assert carry_out(chain(tmp_path, "ab", log), records)
    assert done(log) == ["a", "b"]


def test_a_run_that_another_process_finished_is_left_alone(records, tmp_path):
    steps = chain(tmp_path, "ab", tmp_path / "log")
    shutil.rmtree(records.folder)
    assert not carry_out(steps, records)


def test_an_epoch_done_again_replaces_its_row(records):
    for epoch, loss in ((0, 3.0), (1, 2.0), (2, 9.0), (1, 1.5)):
        records.record("dense", epoch, {"loss": loss, "other": 1})
    assert [row["loss"] for row in records.rows("dense")] == [3.0, 1.5]
    text = records.history(["dense", "none"])
    assert text.splitlines()[1].startswith("dense,1,3.0,")
    json.dumps(records.rows("dense"))
