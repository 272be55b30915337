"""The table of mutants."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault in one line.

    Attributes:
        file: Path of the file, from the project's folder.
        old: A piece of text that stands in it once.
        new: What it becomes.
        tests: Test files or test ids that must kill it, by spaces.
    """

    file: str
    old: str
    new: str
    tests: str

    def __str__(self):
        return f"{self.file}: {self.old.strip()} -> {self.new.strip()}"

    def apply(self, folder):
        """Writes the fault into a copy; returns the sound text."""
        path = folder / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"A mutant's old text must stand once in {self.file}. "
                f"Received: {self.old!r}, {text.count(self.old)} times"
            )
        path.write_text(text.replace(self.old, self.new))
        return text


MUTANTS = []
