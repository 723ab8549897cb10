"""Runs the terminal's way in: `python -m vitc_inspect`."""

from functools import partial

from vitc_inspect.cli import ended, main

if __name__ == "__main__":
    raise SystemExit(ended(partial(main, apart=True)))
