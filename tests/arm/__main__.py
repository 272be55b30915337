"""`python -m arm`, with a clean terminal."""

import sys

import keras_nonconvex_main


def main():
    keras_nonconvex_main.hide_chatter()
    try:
        from arm import cli
    except KeyboardInterrupt:
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
