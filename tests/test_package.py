"""The wheel, built and installed where the checkout is not: its command and its page work."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

import vitc_inspect
from tests.chromium import browser
from tests.served import ROOT, Served, free_port, serving

PACKAGE = ROOT / "vitc_inspect"
MODULE = """
from torch import nn

class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 8, 4, 4)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)
"""


class Installed(NamedTuple):
    """A virtual environment in which the wheel is installed."""

    scripts: Path
    elsewhere: Path
    """A folder that holds nothing of the checkout, for commands to run in."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a person who has no other Python on the path."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return {**kept, "PYTHONNOUSERSITE": "1"}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.scripts / program, *arguments],
            cwd=self.elsewhere,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )


def pip(*arguments: object) -> None:
    """Run this environment's pip, and show what it said where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def install(wheel: str, folder: Path) -> Installed:
    """Install a wheel and what it needs into a new, empty environment."""
    environment, elsewhere = folder / "environment", folder / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scripts = environment / "bin"
    pins = ROOT / "requirements.txt"
    pip("--python", scripts / "python", "install", "--no-compile", "-c", pins, wheel)
    return Installed(scripts, elsewhere)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing of an earlier build gets into it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--no-deps", "-w", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installing(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[Installed]]:
    """The wheel with all that the page needs; it takes a while, in which other tests run."""
    folder = tmp_path_factory.mktemp("full")
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(install, f"{wheel}[app]", folder)
    # a gigabyte takes a while too; who else removes old folders of tests may be quicker
    Thread(target=shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}).start()


@pytest.fixture(scope="module")
def bare(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, installing: Future[Installed]
) -> Installed:
    """The wheel without any extra."""
    return install(str(wheel), tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def full(installing: Future[Installed]) -> Installed:
    """The wheel with all that the page needs."""
    return installing.result()


@pytest.fixture(scope="module")
def page_server(full: Installed) -> Iterator[Served]:
    command = [str(full.scripts / "vitc-inspect"), "app", "--port", str(free_port())]
    elsewhere, environment = full.elsewhere, full.environment
    with serving(command, cwd=elsewhere, environment=environment, seconds=300) as running:
        yield running


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    files = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"vitc_inspect/py.typed", "vitc_inspect/ui/assets/page.html"} < files
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (about,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(about))
        assert archive.read(about.replace("METADATA", "licenses/LICENSE"))
    assert metadata["Name"] == "vitc-inspect"
    assert metadata["Version"] == vitc_inspect.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = metadata.get_all("Requires-Dist") or []
    assert all("extra ==" in requirement for requirement in needed)


def test_without_extras_a_stem_is_predicted_and_an_error_explained(bare: Installed) -> None:
    code = (
        "from vitc_inspect import conv_stem, explain_error, explain_layer, parse_stem, predict\n"
        "conv = predict(conv_stem())\n"
        "print(conv.seq_len, conv.macs, explain_layer(conv, 'proj')['params'])\n"
        "print(predict(parse_stem('16x16/8p0:144')).grid_size)\n"
        "print(explain_error('embed_dim must be divisible by num_heads')[0].kind)"
    )
    ended = bare.run("python", "-c", code)
    assert ended.stdout.splitlines() == [
        "197 435326976 384·384·1·1 + 384 = 147840",
        "(27, 27)",
        "heads",
    ]
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--version",), f"vitc-inspect {vitc_inspect.__version__}\n"),
        (("--paper",), "ViT_C-4GF"),
        (("--explain", "embed_dim must be divisible by num_heads"), "1. heads"),
        (("--help",), "vitc-inspect app opens the page in the browser"),
    ],
)
def test_without_extras_the_command_does_what_needs_no_torch(
    bare: Installed, arguments: tuple[str, ...], says: str
) -> None:
    ended = bare.run("vitc-inspect", *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert says in ended.stdout


def test_without_extras_a_function_that_runs_something_names_the_extra(bare: Installed) -> None:
    ended = bare.run("python", "-c", "from vitc_inspect import inspect_stem")
    assert ended.returncode == 1
    assert ended.stderr.endswith("inspect_stem needs torch: pip install 'vitc-inspect[torch]'\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("16x16/16:768",), "Running a stem needs torch: pip install 'vitc-inspect[torch]'\n"),
        (
            ("--module", "guest.py:Patches", "--input", "1,3,8,8"),
            "--module needs torch: pip install 'vitc-inspect[torch]'\n",
        ),
        (("app",), "The page needs gradio: pip install 'vitc-inspect[app]'\n"),
    ],
)
def test_without_extras_the_command_says_in_a_sentence_what_is_missing(
    bare: Installed, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = bare.run("vitc-inspect", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", sentence)


def test_what_the_extra_installs_fits_together(full: Installed) -> None:
    pip("--python", full.scripts / "python", "check")
    ended = full.run("python", "-c", "import vitc_inspect; print(vitc_inspect.__file__)")
    assert Path(ended.stdout).is_relative_to(full.scripts.parent)


def test_the_installed_command_inspects_a_stem(full: Installed) -> None:
    ended = full.run("vitc-inspect", "16x16/16:768", "--strict")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "197 tokens = 14 × 14 + 1 class token, width 768" in ended.stdout


def test_the_installed_command_inspects_a_module(full: Installed) -> None:
    (full.elsewhere / "guest.py").write_text(MODULE)
    ended = full.run("vitc-inspect", "--module", "guest.py:Patches", "--input", "1,3,32,32")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "1 of 1 layer agrees with arithmetic." in ended.stdout


def test_the_installed_page_opens(page_server: Served) -> None:
    statuses: list[int] = []
    complaints: list[str] = []
    with browser() as chromium:
        page = chromium.new_page()
        page.on("response", lambda response: statuses.append(response.status))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(page_server.address)
        expect(page.locator(".vi")).to_have_attribute("data-state", "confirmed", timeout=60_000)
        assert page.locator("[data-seq-len]").get_attribute("data-seq-len") == "197"
    assert len(statuses) > 5
    assert max(statuses) < 400
    assert complaints == []
