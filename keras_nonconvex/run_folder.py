"""The folder of a run, which gets its name when the run is complete."""

import dataclasses
import json
import pathlib
import shutil

# The pruned network's files are called small.
NETWORKS = ("dense", "small")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        recipe, metrics: What its JSON files hold.
        pairs: {precision: {"dense": path, "small": path}} of the precisions
            that both networks have.
    """

    recipe: dict
    metrics: dict
    pairs: dict


def load(folder):
    """The `Run` in a folder."""
    folder = pathlib.Path(folder)
    found = []
    for name in ("recipe.json", "metrics.json"):
        try:
            found.append(json.loads((folder / name).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"Not a finished run folder: it has no {name}. "
                f"Received: run={str(folder)!r}"
            ) from error
    pairs = {}
    for precision in found[0].get("precisions", ()):
        pair = {n: folder / f"{n}.{precision}.tflite" for n in NETWORKS}
        if all(path.is_file() for path in pair.values()):
            pairs[precision] = pair
    return Run(*found, pairs)


class RunFolder:
    """A run folder in the making.

    Attributes:
        out: The complete folder.
        part: Where the run works until then.
    """

    def __init__(self, out):
        self.out = out
        self.part = out.with_name(out.name + ".part")

    def check(self, recipe, resume, force):
        """Refuses to overwrite what is there, and to resume what is not.

        Args:
            recipe: The text of recipe.json.
            resume: Whether an interrupted run goes on.
            force: Whether a run folder may be replaced.
        """
        if resume and force:
            raise ValueError(
                "--resume goes on with a run and --force starts anew: choose "
                "one. Received: both"
            )
        out, part = self.out, self.part
        for folder in (out, part):
            known = folder.is_dir() and (
                (folder / "recipe.json").exists() or not any(folder.iterdir())
            )
            if folder.exists() and force and not known:
                raise ValueError(
                    "--force replaces run folders only, and this is none. "
                    f"Received: {str(folder)!r}"
                )
        if resume:
            if not part.exists():
                state = "is complete" if out.exists() else "was not begun"
                raise ValueError(
                    f"There is no interrupted run to resume: this one {state}. "
                    f"Received: {str(part)!r}"
                )
            before = part / "recipe.json"
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

    def begin(self, resume):
        """Makes the working folder, or keeps that of the run to resume."""
        if self.part.exists() and not resume:
            shutil.rmtree(self.part)
        self.part.mkdir(parents=True, exist_ok=True)

    def finish(self):
        """Gives the folder its name; an old one goes."""
        if not self.out.exists():
            self.part.rename(self.out)
            return
        old = self.out.with_name(self.out.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        self.out.rename(old)
        self.part.rename(self.out)
        shutil.rmtree(old)
