"""The files a maintainer works with: each is valid, and they agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import vitc_inspect
from tests.served import ROOT
from tests.sources import modules_imported, source_files
from vitc_inspect.common.extras import EXTRAS
from vitc_inspect.stem.paper import SOURCE


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))
PROJECT = PYPROJECT["project"]
LEFT_TO_PIP = set(PYPROJECT["tool"]["uv"]["exclude-dependencies"])
PINNED = ("requirements.txt", "requirements-dev.txt")
IMPORTED_AS = {"PIL": "pillow"}
"""Names of packages that are imported by another name."""


def pins(file: str) -> dict[str, Requirement]:
    """The pinned packages of a file by name."""
    lines = [line for line in read(file).splitlines() if line and not line.lstrip().startswith("#")]
    found = [Requirement(line) for line in lines]
    assert len({pin.name for pin in found}) == len(found)
    return {canonicalize_name(pin.name): pin for pin in found}


def version_of(pin: Requirement) -> Version:
    """The one version that a pin allows."""
    (only,) = pin.specifier
    assert only.operator == "=="
    return Version(only.version)


def ranges(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, with what the extras within it do."""
    for line in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            for inner in requirement.extras:
                yield from ranges(inner)
        else:
            yield requirement


def is_of_cuda(name: str) -> bool:
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


# ---- the pins -------------------------------------------------------------------------------


@pytest.mark.parametrize("file", PINNED)
def test_every_pin_is_one_version_of_a_package_that_all_builds_of_torch_can_have(file: str) -> None:
    for name, pin in pins(file).items():
        assert not version_of(pin).local  # no +cpu
        assert not pin.url
        assert not is_of_cuda(name)


def test_the_page_and_the_tests_have_the_same_pins() -> None:
    page, tests = map(pins, PINNED)
    assert {name: tests.get(name) for name in page} == page


@pytest.mark.parametrize(("extra", "file"), [("app", PINNED[0]), ("dev", PINNED[1])])
def test_the_pins_lie_in_the_ranges(extra: str, file: str) -> None:
    pinned = pins(file)
    for requirement in ranges(extra):
        assert version_of(pinned[canonicalize_name(requirement.name)]) in requirement.specifier


def test_what_runs_here_is_what_is_pinned() -> None:
    for name, pin in pins(PINNED[1]).items():
        if pin.marker is None or pin.marker.evaluate():
            assert Version(metadata.version(name)).public == str(version_of(pin))


@pytest.mark.parametrize("file", PINNED)
def test_what_a_pinned_package_needs_is_pinned_too(file: str) -> None:
    pinned = pins(file)
    for name, pin in pinned.items():
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                needed_name = canonicalize_name(needed.name)
                assert needed_name in pinned or is_of_cuda(needed_name), f"{name} needs {needed}"


def test_what_is_left_to_pip_is_of_cuda() -> None:
    assert all(map(is_of_cuda, LEFT_TO_PIP))


@pytest.mark.parametrize("file", PINNED)
def test_the_command_that_makes_the_pins_is_in_the_docs(file: str) -> None:
    command = read(file).splitlines()[1].removeprefix("#").strip()
    assert command.endswith(f"-o {file}")
    assert command in read("CONTRIBUTING.md").splitlines()


# ---- the extras -----------------------------------------------------------------------------


def test_the_package_itself_needs_nothing() -> None:
    assert PROJECT["dependencies"] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_what_is_checked_before_it_is_used(extra: str) -> None:
    checked = {IMPORTED_AS.get(name, name) for name in EXTRAS[extra]}
    assert checked | {"torchinfo"} == {requirement.name for requirement in ranges(extra)}


def test_whatever_the_package_imports_is_installed_by_the_extra_app() -> None:
    imported = {
        name.partition(".")[0]
        for path in source_files()
        for name in modules_imported(path.read_text(encoding="utf-8"))
    }
    libraries = {name for name in imported if name and name not in sys.stdlib_module_names}
    asked = {requirement.name for requirement in ranges("app")}
    assert {"torch", "gradio"} <= libraries
    assert {IMPORTED_AS.get(name, name) for name in libraries - {"vitc_inspect"}} <= asked


# ---- what stands in several files ------------------------------------------------------------


def test_the_version_stands_in_one_place() -> None:
    assert str(Version(vitc_inspect.__version__)) == vitc_inspect.__version__
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "vitc_inspect.__version__"
    }
    assert vitc_inspect.__version__ in read("CHANGELOG.md")


def test_the_tested_python_is_the_one_that_is_named() -> None:
    tested = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert tested in SpecifierSet(PROJECT["requires-python"])
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert named == [tested]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{tested.replace('.', '')}"
    assert f'python_version: "{tested}"' in read("README.md")
    workflow = workflow_of_github()
    assert workflow["jobs"]["tests"]["container"] == f"python:{tested}-bookworm"
    (setup,) = (step for step in workflow["jobs"]["audit"]["steps"] if "with" in step)
    assert setup["with"]["python-version"] == tested


def test_the_license_and_the_authors_are_the_same_everywhere() -> None:
    cited = yaml.safe_load(read("CITATION.cff"))
    (author,) = PROJECT["authors"]
    assert read("LICENSE").startswith("MIT License\n")
    assert PROJECT["license"] == cited["license"] == "MIT"
    assert f" {author['name']}\n" in read("LICENSE")
    assert cited["authors"] == [author]


def test_the_linter_before_a_commit_is_the_one_of_the_tests() -> None:
    ruff, mypy = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert ruff["rev"] == f"v{version_of(pins(PINNED[1])['ruff'])}"
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    assert [hook["entry"] for hook in mypy["hooks"]] == [".venv/bin/mypy"]
    assert ".venv/bin/mypy\n" in read(".ci/run")


# ---- each file by itself ---------------------------------------------------------------------


def workflow_of_github() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(read(".github/workflows/ci.yml"))
    return loaded


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/*.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_a_file_is_valid_by_its_schema(schema: str, pattern: str) -> None:
    files = sorted(ROOT.glob(pattern))
    assert files
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*checker, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_workflow_runs_what_is_run_here_and_the_audit_of_the_docs() -> None:
    jobs = workflow_of_github()["jobs"]
    commands = {name: [step.get("run") for step in job["steps"]] for name, job in jobs.items()}
    assert "bash .ci/run" in commands["tests"]
    assert commands["audit"][-1] in read("CONTRIBUTING.md").splitlines()


def test_the_paper_is_cited() -> None:
    (reference,) = yaml.safe_load(read("CITATION.cff"))["references"]
    (identifier,) = reference["identifiers"]
    assert identifier["value"] in SOURCE
    assert reference["url"].endswith(identifier["value"].removeprefix("arXiv:"))


def test_the_changelog_begins_with_what_is_not_released() -> None:
    titles = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    kinds = set(re.findall(r"^### (.*)$", read("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_names_nothing_that_is_not_there() -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", read("CHANGELOG.md")))
    assert "predict" in named
    assert named <= {*vitc_inspect.__all__, *PROJECT["optional-dependencies"]}


@pytest.mark.parametrize("file", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_every_file_that_is_named_is_there(file: str) -> None:
    text = read(file)
    linked = re.findall(r"\]\((?!https:)([^)]+)\)", text)
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|txt|toml|yaml)))`", text)
    folders = (ROOT, ROOT / "vitc_inspect")
    assert [name for name in linked if not (ROOT / name).exists()] == []
    assert [name for name in named if not any((at / name).exists() for at in folders)] == []
