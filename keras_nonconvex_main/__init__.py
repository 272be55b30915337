"""The `keras-nonconvex` command.

It stands outside of `keras_nonconvex`, whose import starts TensorFlow: the
command line is read, and `--help` answered, before that takes seconds and
logs to file descriptor 2.
"""

import logging
import os
import re
import sys
import threading

from keras_nonconvex_main import cli

# What C++ code logs below the level of a crash.
_CHATTER = re.compile(
    rb"[IWE]\d{4} |WARNING: All log messages|To enable the following"
    rb"|fully_quantize: |INFO: "
)


def main():
    """The console script."""
    hide_chatter()
    return cli.main()


def hide_chatter():
    """Keeps C++ log lines off the terminal; everything else passes."""
    terminal = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)

    def forward():
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not _CHATTER.match(line):
                    os.write(terminal, line)

    threading.Thread(target=forward, daemon=True).start()
