"""Runs the terminal's way in: `python -m vitc_inspect`."""

from vitc_inspect.cli import ended, main

if __name__ == "__main__":
    raise SystemExit(ended(main))
