"""What is said where a package of an extra is missing, each in a Python that cannot import it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.served import ROOT
from vitc_inspect.common.extras import EXTRAS, MissingPackage, require


def without(package: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python in which importing a package fails as if it were not there."""
    blocked = f"import sys; sys.modules[{package!r}] = None\n{code}"
    return subprocess.run(
        [sys.executable, "-c", blocked, *arguments], cwd=ROOT, capture_output=True, text=True
    )


COMMAND = "from vitc_inspect.__main__ import main; raise SystemExit(main())"
APP = "from vitc_inspect.cli import ended; from vitc_inspect.ui.launch import main; ended(main)"


@pytest.mark.parametrize("extra", EXTRAS)
def test_nothing_is_said_where_all_is_installed(extra: str) -> None:
    require(extra, by="This")


@pytest.mark.parametrize(
    ("package", "name"), [("torch", "inspect_stem"), ("safetensors", "save_weights")]
)
def test_a_name_that_needs_a_missing_package_says_how_to_install_it(
    package: str, name: str
) -> None:
    ended = without(package, f"from vitc_inspect import {name}")
    sentence = f"{name} needs {package}: pip install 'vitc-inspect[torch]'"
    assert ended.stderr.endswith(f"\nvitc_inspect.common.extras.MissingPackage: {sentence}\n")


def test_the_error_is_that_of_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ModuleNotFoundError, match=r"^This needs gradio: pip") as caught:
        require("app", by="This")
    assert isinstance(caught.value, MissingPackage)
    assert caught.value.name == "gradio"
    require("torch", by="This")


def test_a_module_of_ours_that_is_missing_is_no_missing_extra() -> None:
    ended = without("vitc_inspect.model", "from vitc_inspect import build_stem")
    *_, last = ended.stderr.splitlines()
    assert last.startswith("ModuleNotFoundError: ")
    assert "vitc_inspect.model" in last


@pytest.mark.parametrize(
    ("package", "code", "arguments", "sentence"),
    [
        (
            "torch",
            COMMAND,
            ("16x16/16:768",),
            "Running a stem needs torch: pip install 'vitc-inspect[torch]'",
        ),
        (
            "einops",
            COMMAND,
            ("--module", "torch.nn:ReLU", "--input", "1"),
            "--module needs einops: pip install 'vitc-inspect[torch]'",
        ),
        (
            "gradio",
            COMMAND,
            ("app",),
            "The page needs gradio: pip install 'vitc-inspect[app]'",
        ),
        (
            "torch",
            APP,
            (),
            "The page needs torch: pip install 'vitc-inspect[app]'",
        ),
    ],
)
def test_in_the_terminal_it_is_one_sentence_and_no_traceback(
    package: str, code: str, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = without(package, code, *arguments)
    assert (ended.stdout, ended.stderr) == ("", f"{sentence}\n")


def test_bad_input_is_told_before_what_is_missing() -> None:
    ended = without("torch", COMMAND, "3x3/2:48, 3x")
    assert ended.returncode == 2
    assert ended.stderr.startswith("stem = ")
