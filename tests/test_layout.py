"""Tests stand where the code stands: a folder for each wing, a file for each module or topic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "vitc_inspect"
MOST_LINES = 550

TOPICS = {
    "": {
        "agreement": "prediction and observation of every preset",
        "docs": "every command and example of the documentation",
        "fuzz": "the fuzz targets",
        "front_doors": "the package, the terminal and the page say the same",
        "imports": "the order of the wings",
        "layout": "this file",
        "package": "the wheel, installed",
        "project_files": "licence, changelog, workflow",
        "rules_page": "the example of docs/rules.md",
    },
    "benchmarks": {"device": "benchmarks/device.py", "families": "benchmarks/families.py"},
    "cli": {
        "ignore": "faults that are to be ignored",
        "interrupts": "Ctrl+C, deadlines and processes that die",
        "values": "odd values for every option",
    },
    "common": {
        "image_bombs": "files whose decoding would take too much memory or time",
        "image_files": "what is read as a picture, and what is not",
        "image_memory": "memory that decoding takes",
        "image_reduction": "pictures that are decoded smaller",
    },
    "diagnosis": {
        "any_text": "text that is damaged, absurd or very long",
        "command_line": "--explain",
        "tokens_of_no_image": "texts, videos and sounds",
    },
    "inspection": {
        "failing_rules": "rules of users that raise, or return nonsense",
        "odd_modules": "modules that nobody has foreseen",
        "registered_rules": "rules that users register for layers",
    },
    "stem": {
        "notation_errors": "notations that cannot be read",
        "spec_builders": "conv_stem and patchify_stem",
    },
    "tracing": {
        "counted_layers": "MACs inside layers beside torch's counter",
        "counted_products": "MACs beside torch's dispatcher",
        "failures": "forward passes that raise",
        "odd_forwards": "forward passes that nobody has foreseen",
    },
    "ui/browser": {
        "accessibility": "axe, forced colours, keys and names",
        "access": "the page's policy, its token, proxies, notebooks, Spaces",
        "address": "the address bar",
        "cells": "the tab Cell",
        "editor": "the controls",
        "pointer": "what is pointed at is lit everywhere",
        "failures": "panels and requests that fail",
        "glossary": "cards of terms",
        "first_screen": "what is shown at once",
        "kept_table": "a position table of another image size",
        "layout_shift": "how far things move by themselves",
        "late_answers": "answers that come late, or never",
        "links": "links that were written long ago",
        "long_runs": "runs of minutes",
        "maps": "the tab Maps",
        "module": "the page of a user's own module",
        "panels": "the tabs Cost, Length and Time, and errors",
        "picture_input": "pictures by paste and camera, fitted, and shown larger",
        "pictures": "pictures that are opened",
        "rows": "rows of the editor that are inserted and moved",
        "saved_pictures": "pictures saved as SVG and PNG",
        "shortcuts": "the list of keys",
        "tokens": "the tab Tokens",
    },
    "ui/hostile": {
        "bodies": "bodies of calls, hosts, origins, tokens",
        "fields": "every field of every call",
        "modules": "files of modules",
        "pictures": "pictures that are opened",
        "stems": "notations and links",
        "weights": "files of weights",
    },
    "ui": {
        "hostile_names": "names that look like HTML, in every panel",
        "interrupts": "Ctrl+C and signals",
    },
}
"""By folder, the files of tests that are not named for a module, and what they are about."""

WITHOUT = {
    "audit/stated_attributes": "test_contract_checks: each attribute beside its convolutions",
    "audit/stem_convs": "test_stem_finder",
    "audit/token_axes": "test_token_order_faults and test_token_shapes",
    "cli/runs": "test_interrupts",
    "common/image_conversion": "test_image_files and test_image_reduction",
    "common/image_headers": "test_image_bombs and test_image_memory",
    "diagnosis/axes": "test_size_explanations: what each axis is said to count",
    "diagnosis/explanation": "every test of a decoder",
    "diagnosis/key_patterns": "test_keys",
    "diagnosis/operands": "test_sums",
    "inspection/module_inspection": "test_module_report",
    "inspection/stem_inspection": "test_stem_report",
    "stem/pasted_text": "test_pasted_code",
    "stem/smaller": "test_memory and test_run_time: what they propose",
    "tracing/active_module": "test_listener",
    "tracing/autograd_functions": "test_function_rules and test_rules",
    "tracing/call_sites": "test_tracebacks and test_listener: the line of each function",
    "tracing/dataflow": "tests/audit: every audit follows a run",
    "tracing/function_kinds": "test_functions",
    "tracing/interrupts": "test_tracebacks and test_odd_forwards",
    "tracing/positions": "tests/audit/test_token_order_faults and test_patches",
    "ui/page_functions": "test_server, test_module_server and test_answers",
    "ui/module_page": "browser/test_module",
    "ui/module_runner": "test_module_server",
    "ui/stem_answers": "test_server and test_answers",
    "ui/stem_runner": "test_server",
    "ui/panels/cell_window": "test_cells",
    "ui/panels/costs": "browser/test_panels and test_server",
    "ui/panels/elements": "every panel",
    "ui/panels/map_pictures": "tests/views/test_maps",
    "ui/panels/maps": "tests/views/test_maps",
    "ui/panels/module_maps": "test_module_reach and test_module_server",
    "ui/panels/module_summary": "test_module_server",
    "ui/panels/pixels": "test_tokens",
    "ui/panels/editor": "browser/test_editor",
    "ui/panels/formulas": "views/test_maps and browser/test_panels",
    "ui/panels/messages": "test_hostile_names and test_server",
    "ui/panels/summary": "test_server and browser/test_first_screen",
    "ui/panels/token_details": "test_tokens",
    "ui/panels/token_order": "test_tokens",
    "views/blocks": "test_strip",
    "views/glossary_entries": "test_glossary",
    "views/report": "protocols alone, without a function",
    "views/other_tables": "tests/cli/test_stems",
}
"""Modules without a file of tests of their own, and where they are tested."""


def modules() -> Iterator[str]:
    """Every module of the package, as "wing/module"; "main" stands for __main__."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__init__.py":
            where = path.relative_to(PACKAGE).parent
            yield (where / path.stem.strip("_")).as_posix()


def files_of_tests() -> list[Path]:
    return sorted(TESTS.rglob("test_*.py"))


MODULES = frozenset(modules())
FAMILIES = frozenset(name.rpartition("/")[0] for name in MODULES if name.count("/") > 1)
"""Folders within a wing, such as inspection/layer_rules, that may be tested as one module."""


def named(path: Path) -> str:
    """What a file of tests is named for, as "wing/name"."""
    where = path.relative_to(TESTS).parent
    return (where / path.stem.removeprefix("test_")).as_posix()


def test_a_file_of_tests_is_named_for_a_module_or_a_topic() -> None:
    topics = {f"{folder}/{name}".lstrip("/") for folder, names in TOPICS.items() for name in names}
    assert {named(path) for path in files_of_tests()} - MODULES - FAMILIES - topics == set()


def test_every_module_has_its_tests_or_the_reason_why_not() -> None:
    files = {named(path) for path in files_of_tests()}
    tested = {name for name in MODULES if files & {name, name.rpartition("/")[0]}}
    assert MODULES - tested - set(WITHOUT) == set()
    assert set(WITHOUT) - (MODULES - tested) == set()  # nor for what is there, or is no more


def test_every_topic_has_its_file_and_is_no_module() -> None:
    topics = {f"{folder}/{name}".lstrip("/") for folder, names in TOPICS.items() for name in names}
    assert topics - {named(path) for path in files_of_tests()} == set()
    assert topics & MODULES == set()


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS))
)
def test_a_file_is_short_and_begins_with_what_stands_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert path.name == "__init__.py" or text.startswith('"""')
    # what several files share stands in one that is no test
    assert re.findall(r"^from tests(?:\.\w+)*\.test_\w+ import", text, re.MULTILINE) == []
