"""Scripts of this package in processes of their own."""

import json
import pathlib
import subprocess
import sys


class Failed(RuntimeError):
    """The process ended before it wrote its result."""


def run(script, folder, job, told=None):
    """Runs a script on a folder: job.json goes in, result.json comes out.

    Args:
        script: Path of a script whose argument is the folder.
        folder: Where it works.
        job: A dict, written as job.json.
        told: Called with each line that the script prints.

    Returns:
        What the script wrote as result.json.
    """
    folder = pathlib.Path(folder)
    (folder / "job.json").write_text(json.dumps(job))
    result, log = folder / "result.json", folder / "errors.txt"
    result.unlink(missing_ok=True)
    with (
        open(log, "w") as errors,
        subprocess.Popen(
            # -P: the modules beside it must not hide others of their names.
            [sys.executable, "-P", str(script), str(folder)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            if told:
                told(line)
    if not result.exists():
        last = log.read_text().strip().splitlines()[-1:] or ["no message"]
        raise Failed(
            f"The process of {pathlib.Path(script).name} ended before it was "
            f"done (exit code {process.returncode}: {last[0]})"
        )
    return json.loads(result.read_text())
