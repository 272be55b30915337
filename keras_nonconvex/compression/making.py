"""A run folder in the making, which gets its name when the run is complete."""

import contextlib
import shutil
import time

import filelock

from keras_nonconvex import files
from keras_nonconvex.run_folder import BEGUN
from keras_nonconvex.run_folder import Paths

# How often a process looks whether another one is at its end, in seconds.
_LOOK = 0.5


class RunFolder:
    """A run folder in the making.

    Args:
        out: A `pathlib.Path`: the folder that the complete run will be in.

    Attributes:
        part: The folder that the run works in until then, `OUT.part`.
        paths: The `Paths` in `part`.
    """

    def __init__(self, out):
        if not out.name or out.name == "..":
            raise ValueError(
                f"The run folder must have a name. Received: out={str(out)!r}"
            )
        self.out = out
        self.part = out.with_name(out.name + ".part")
        self.paths = Paths(self.part)

    def check(self, recipe, resume, force, join=False):
        """Refuses to overwrite what is there, and to resume what is not.

        Args:
            recipe: A string: the text of recipe.json.
            resume: Whether an interrupted run goes on.
            force: Whether a run folder may be replaced.
            join: Whether to help another process.
        """
        if resume + force + join > 1:
            raise ValueError(
                "--resume goes on with a run, --join helps another process "
                "with one, and --force starts anew: choose one. "
                f"Received: resume={resume}, join={join}, force={force}"
            )
        if not join and self._busy():
            raise ValueError(
                "Another process is at this run: use --join to help it. "
                f"Received: {str(self.part)!r}"
            )
        out, part = self.out, self.part
        for folder in (out, part):
            known = folder.is_dir() and (
                Paths(folder).recipe.exists()
                or Paths(folder).unfinished.exists()
                or not any(folder.iterdir())
            )
            if folder.exists() and force and not known:
                raise ValueError(
                    "--force replaces run folders only, and this is none. "
                    f"Received: {str(folder)!r}"
                )
        if resume or join:
            if not part.exists():
                state = "is complete" if out.exists() else "was not begun"
                raise ValueError(
                    f"There is no interrupted run to resume: this one {state}. "
                    f"Received: {str(part)!r}"
                )
            before = self.paths.recipe
            if before.exists() and before.read_text() != recipe:
                raise ValueError(
                    "The interrupted run has another recipe; use --force to "
                    f"start anew. Received: {str(before)!r}"
                )
        elif not force:
            if out.exists():
                raise ValueError(
                    "The output folder exists; use --force to replace it or "
                    f"--out for another. Received: out={str(out)!r}"
                )
            if part.exists():
                raise ValueError(
                    "An interrupted run is in the way; use --resume to go on "
                    f"with it or --force to start anew. Received: {str(part)!r}"
                )

    def _busy(self):
        """Whether a process is at the run."""
        if not self.paths.lock.exists():
            return False
        try:
            with filelock.FileLock(self.paths.lock, timeout=0):
                return False
        except filelock.Timeout:
            return True

    @contextlib.contextmanager
    def begun(self, recipe, resume, join=False):
        """A scope in which the run works in its folder.

        Args:
            recipe: A string: the text of recipe.json.
            resume: Whether to go on with what is there.
            join: Whether another process may be at it.

        Yields:
            A function to call once the run can work. If the scope ends with
            an error before, a new folder vanishes, and what it would have
            replaced is back. An interrupted run can be resumed.
        """
        if join:
            try:
                yield lambda: None
            finally:
                if not self._here():
                    # What was written after another process had finished.
                    shutil.rmtree(self.part, ignore_errors=True)
            return
        before = self.part.with_name(self.part.name + ".old")
        if self.part.exists() and not resume:
            shutil.rmtree(before, ignore_errors=True)
            self.part.rename(before)
        new, works = not self.part.exists(), []
        parents = [each for each in self.part.parents if not each.exists()]
        try:
            self.paths.steps.mkdir(parents=True, exist_ok=True)
            (self.paths.steps / BEGUN).touch()
            with filelock.FileLock(self.paths.lock, timeout=0):
                files.write_text(self.paths.recipe, recipe)

                def can_work():
                    works.append(True)
                    shutil.rmtree(before, ignore_errors=True)

                yield can_work
        except Exception:
            if new and not works:
                shutil.rmtree(self.part, ignore_errors=True)
                for parent in parents:
                    with contextlib.suppress(OSError):
                        parent.rmdir()
                if before.exists():
                    before.rename(self.part)
            raise

    def _here(self):
        """Whether the run has not got its final name yet."""
        return (self.paths.steps / BEGUN).exists()

    def finish(self, join=False):
        """Gives the folder its final name; a folder of that name is deleted.

        The process whose run it is does so, or one that has joined it if that
        process has ended.

        Args:
            join: Whether the run is another process's. Defaults to `False`.
        """
        if not join:
            self._finish()
        while join and self._here():
            with (
                contextlib.suppress(filelock.Timeout),
                filelock.FileLock(self.paths.lock, timeout=0),
            ):
                if self._here():
                    self._finish()
            time.sleep(_LOOK)

    def _finish(self):
        for path in self.part.glob(".*"):
            # Files that a killed process was at.
            if path != self.paths.unfinished:
                shutil.rmtree(path, ignore_errors=True)
        old = self.out.with_name(self.out.name + ".old")
        if self.out.exists():
            shutil.rmtree(old, ignore_errors=True)
            self.out.rename(old)
        # From here on it is complete, whenever the process ends.
        self.part.rename(self.out)
        shutil.rmtree(Paths(self.out).unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
