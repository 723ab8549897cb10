"""The command line called in this process, and what it printed."""

from __future__ import annotations

import json

import pytest

from vitc_inspect import cli


@pytest.fixture
def run(capsys):
    """Calls main and returns the exit code, the output and the complaints."""

    def call(*arguments):
        try:
            code = cli.main(arguments)
        except SystemExit as end:  # argparse ends the program by itself
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def run_json(run):
    """Calls main with --json and returns what it printed."""

    def call(*arguments):
        code, out, err = run(*arguments, "--json")
        assert (code, err, out.count("\n")) == (0, "", 1)
        return json.loads(out)

    return call
