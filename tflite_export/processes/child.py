"""Scripts in processes of their own."""

import json
import os
import pathlib
import subprocess
import sys


class Failed(RuntimeError):
    """The process ended before it wrote its result."""


def run(script, folder, job, told=None, python=sys.executable):
    """Runs a script on a folder: job.json goes in, result.json comes out.

    Args:
        script: Path of a script whose only argument is the folder.
        folder: The folder where the script works.
        job: What the script has to do; it is written as job.json.
        told: Function of each line that the script prints. An exception in it
            ends the script.
        python: The interpreter. Defaults to the one that runs this.

    Returns:
        What the script wrote as result.json.

    Raises:
        Failed: The script ended without a result.
    """
    folder = pathlib.Path(folder)
    (folder / "job.json").write_text(json.dumps(job))
    result, log = folder / "result.json", folder / "errors.txt"
    result.unlink(missing_ok=True)
    # The user's settings of Keras are not the script's.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("KERAS_")
    }
    with (
        open(log, "w") as errors,
        subprocess.Popen(
            # -P: the modules beside it must not hide others of their names.
            [str(python), "-P", str(script), str(folder)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        ) as process,
    ):
        try:
            for line in process.stdout:
                if told:
                    told(line)
        except BaseException:
            process.terminate()
            raise
    if not result.exists():
        reason = f"exit code {process.returncode}"
        # Where a signal ended it, the last line says nothing of that.
        if process.returncode >= 0:
            last = log.read_text().strip().splitlines()[-1:] or ["no message"]
            reason += f": {last[0][:300]}"
        raise Failed(
            f"The process of {pathlib.Path(script).name} ended before it was "
            f"done ({reason})"
        )
    return json.loads(result.read_text())
