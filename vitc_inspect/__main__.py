"""Runs the terminal's way in: `python -m vitc_inspect`."""

import os
import sys

from vitc_inspect.cli import main

EXIT_INTERRUPTED, EXIT_UNREAD = 130, 141  # as a shell names the two signals


def run() -> int:
    """Run the program; who stops it, or stops reading it, gets no traceback."""
    try:
        code = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough; what is left must go somewhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNREAD
    return code


if __name__ == "__main__":
    raise SystemExit(run())
