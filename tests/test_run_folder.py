"""A run folder: whole or in the making, replaced only when asked to."""

import json

import pytest

from keras_nonconvex import run_folder
from keras_nonconvex.compression.making import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def begun(folder, recipe="{}", resume=False, force=False):
    folder.check(recipe, resume, force)
    with folder.begun(recipe, resume) as works:
        works()
    return folder


def test_it_gets_its_name_when_it_is_complete(folder):
    begun(folder)
    assert folder.part.is_dir() and not folder.out.exists()
    folder.finish()
    assert folder.out.is_dir() and not folder.part.exists()


def test_a_resumed_run_keeps_what_is_there(folder):
    begun(folder)
    (folder.part / "made").write_text("before")
    begun(folder, resume=True)
    assert (folder.part / "made").read_text() == "before"


def test_a_new_run_starts_from_nothing(folder):
    begun(folder)
    (folder.part / "made").write_text("before")
    begun(folder, "[2]", force=True)
    assert not (folder.part / "made").exists()
    assert folder.paths.recipe.read_text() == "[2]"


def test_a_new_run_that_cannot_work_leaves_nothing(folder):
    folder.check("{}", resume=False, force=False)
    with pytest.raises(ValueError, match="cannot work"):
        with folder.begun("{}", resume=False):
            raise ValueError("cannot work")
    assert not any(folder.out.parent.iterdir())
    begun(folder)
    with pytest.raises(ValueError, match="now"):
        with folder.begun("{}", resume=True):
            raise ValueError("now")
    assert folder.part.is_dir()


def test_what_a_run_that_cannot_work_would_replace_is_back(folder):
    begun(folder, "[1]")
    (folder.part / "made").write_text("before")
    folder.check("[2]", resume=False, force=True)
    with pytest.raises(ValueError, match="cannot work"):
        with folder.begun("[2]", resume=False):
            raise ValueError("cannot work")
    assert (folder.part / "made").read_text() == "before"
    assert folder.paths.recipe.read_text() == "[1]"
    begun(folder, "[2]", force=True)
    (name,) = [path.name for path in folder.out.parent.iterdir()]
    assert name == "run.part" and not (folder.part / "made").exists()


def test_folders_around_one_that_cannot_work_vanish_too(tmp_path):
    deep = RunFolder(tmp_path / "runs" / "of" / "mine")
    with pytest.raises(ValueError):
        with deep.begun("{}", resume=False):
            raise ValueError
    assert not any(tmp_path.iterdir())


def test_a_run_can_be_resumed_from_its_first_moment_on(folder):
    with pytest.raises(KeyboardInterrupt):
        with folder.begun("{}", resume=False):
            raise KeyboardInterrupt
    begun(folder, resume=True)
    # Killed before anything was written.
    folder.paths.recipe.unlink()
    begun(folder, resume=True)
    folder.paths.recipe.unlink()
    begun(folder, "[2]", force=True)
    folder.finish()
    assert [path.name for path in folder.out.iterdir()] == ["recipe.json"]


def test_whoever_has_joined_finishes_a_run_that_was_left(folder):
    begun(folder)
    with folder.begun("{}", resume=False, join=True):
        folder.finish(join=True)
    assert folder.out.is_dir() and not folder.part.exists()


def test_whoever_has_joined_leaves_a_finished_run_alone(folder):
    begun(folder)
    with folder.begun("{}", resume=False, join=True):
        folder.finish()
        # It comes too late with a file.
        folder.paths.steps.mkdir(parents=True)
        folder.finish(join=True)
    (name,) = [path.name for path in folder.out.parent.iterdir()]
    assert name == "run"


def test_one_process_owns_a_run_and_others_join(folder):
    with folder.begun("{}", resume=False) as works:
        works()
        for resume in (True, False):
            with pytest.raises(ValueError, match="use --join to help it"):
                folder.check("{}", resume, force=False)
        folder.check("{}", resume=False, force=False, join=True)
        with folder.begun("{}", resume=False, join=True):
            pass
        with pytest.raises(ValueError, match="another recipe"):
            folder.check("[2]", resume=False, force=False, join=True)
    folder.check("{}", resume=True, force=False)


def test_force_replaces_a_complete_run(folder):
    begun(folder, "[1]").finish()
    begun(folder, "[2]", force=True).finish()
    (name,) = [path.name for path in folder.out.parent.iterdir()]
    assert name == "run"
    assert run_folder.Paths(folder.out).recipe.read_text() == "[2]"


@pytest.mark.parametrize(
    ("state", "recipe", "resume", "force", "message"),
    [
        ("begun", "{}", True, True, "choose one"),
        ("begun", "{}", False, False, "interrupted run is in the way"),
        ("begun", "[other]", True, False, "another recipe"),
        ("none", "{}", True, False, "was not begun"),
        ("complete", "{}", True, False, "is complete"),
        ("complete", "{}", False, False, "exists; use --force"),
        ("foreign", "{}", False, True, "replaces run folders only"),
        ("foreign", "{}", False, False, "exists; use --force"),
    ],
)
def test_refusals_touch_nothing(folder, state, recipe, resume, force, message):
    if state in ("begun", "complete"):
        begun(folder)
    if state == "complete":
        folder.finish()
    if state == "foreign":
        folder.out.mkdir()
        (folder.out / "thesis.tex").write_text("mine")

    def tree():
        place = folder.out.parent
        return {p: p.is_file() and p.read_text() for p in place.rglob("*")}

    before = tree()
    with pytest.raises(ValueError, match=message):
        folder.check(recipe, resume, force)
    assert tree() == before


def test_a_finished_run_has_the_pairs_that_both_networks_have(tmp_path):
    paths = run_folder.Paths(tmp_path)
    recipe = {"precisions": ["float32", "int8"]}
    paths.recipe.write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match="no metrics.json"):
        run_folder.load(tmp_path)
    paths.metrics.write_text("{}")
    for network in ("dense", "small"):
        paths.tflite(network, "float32").write_bytes(b"")
    paths.tflite("dense", "int8").write_bytes(b"")
    run = run_folder.load(tmp_path)
    assert run.recipe == recipe
    assert list(run.pairs) == ["float32"]
