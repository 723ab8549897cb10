"""The script that checks an accelerator, run where a CPU stands for one."""

from __future__ import annotations

import pytest
import torch

from benchmarks import device as module_under_test
from benchmarks.device import CHECKS, Machine, main, run_checks
from vitc_inspect.stem.presets import PRESETS

SMALL = Machine(torch.device("cpu"), (PRESETS["vit_p_1gf"],))
CLOCKS = {"times of layers", "clock of the device"}  # a busy machine may be far off


def test_every_check_that_a_cpu_can_make_passes() -> None:
    rows = list(run_checks(SMALL, CHECKS))
    assert [row.check for row in rows] == [name for name, _ in CHECKS]
    failed = [row for row in rows if row.passed is False and row.check not in CLOCKS]
    assert failed == []
    elsewhere = {row.check for row in rows if row.passed is None}
    assert elsewhere == {
        "random state",
        "peak memory",
        "waiting for the device",
        "tensors on two devices",
    }


def test_a_check_that_raises_is_a_row_with_its_reason_and_the_rest_goes_on() -> None:
    def broken(machine: Machine) -> tuple[str, bool]:
        raise RuntimeError("out of luck.\nTry again.")

    rows = list(run_checks(SMALL, [("first", broken), ("second", lambda machine: ("fine", True))]))
    assert [(row.seen, row.passed) for row in rows] == [
        ("RuntimeError: out of luck. Try again", False),
        ("fine", True),
    ]


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1), (None, 0)])
def test_the_exit_code_tells_whether_a_check_failed(capsys, right, code) -> None:
    def check(machine: Machine) -> tuple[str, bool]:
        if right is None:
            machine.needs_cuda()
        return "something", bool(right)

    arguments = ["--device", "cpu", "--presets", "vit_p_1gf"]
    assert main(arguments, [("only", check)]) == code
    printed = capsys.readouterr().out
    seen = {True: "something | ✓", False: "something | ✗ failed", None: "not on cpu | ·"}[right]
    assert f"| only | {seen} |" in printed
    assert "| vit_p_1gf | " in printed


def test_without_an_accelerator_it_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(module_under_test, "available_devices", lambda: ("cpu",))
    monkeypatch.setattr(module_under_test, "print_times", lambda machine: None)
    assert main([], []) == 0
    assert capsys.readouterr().out.startswith("There is no accelerator here")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--presets", "vit_p_1gf,nothing"], "no preset is called nothing"),
        (["--device", "tpu"], "device = 'tpu': it is not one of auto, cpu, cuda, mps. Use auto."),
    ],
)
def test_what_is_not_there_is_refused(capsys, arguments, says) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err
