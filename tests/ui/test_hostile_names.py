"""Names that look like HTML: whatever a user calls things, the page keeps its own elements."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from tests.hostile_html import HOSTILE, TEXTS, Read
from tests.ui.requests import START, call
from vitc_inspect import SpecError
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.diagnosis import Explanation
from vitc_inspect.inspection.module_run import ModuleRun, run_module
from vitc_inspect.inspection.stem_inspection import inspect, prepare
from vitc_inspect.probes.other_counters import Witness
from vitc_inspect.probes.timing import LayerTime, Spread, Timing
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.ui.answers import answering, drawn
from vitc_inspect.ui.panels import (
    costs,
    editor,
    maps,
    messages,
    module_maps,
    module_reach,
    module_summary,
    summary,
)
from vitc_inspect.views.folding import row_keys
from vitc_inspect.views.plots import Dot, time_plot

PLAIN = "plain"
STEM = parse_stem("4x4/4:8 bn relu, 1x1:8", image_size=(16, 16))


def skeleton(html: str) -> list[tuple[str, list[str]]]:
    """The elements of a panel with the names of their attributes."""
    return [(element, sorted(attributes)) for element, attributes in Read(html).elements]


# ---- a module with hostile names ------------------------------------------------------------

SOURCE = """
def forward(self, x):
    x = self._modules["conv" + self.called](x)  # {called!r}
    x = x.flatten(2).mT
    x = self._modules["mix" + self.called](x)
    kept = x.relu_()  # {called!r}
    x = x.mul_(2)
    if self.fails:
        raise ValueError(self.called) if self.fails == "own" else x.sum() @ x
    return {{"out" + self.called: x, "again" + self.called: kept[:, 0]}}
"""


def module_called(called: str, fails: str = "") -> nn.Module:
    """A module whose class, layers, file, line of code, message and outputs have a name in them."""
    file = f"/nowhere/{called}.py"
    lines = SOURCE.format(called=called)
    linecache.cache[file] = (len(lines), None, lines.splitlines(True), file)
    made: dict[str, Any] = {}
    exec(compile(lines, file, "exec"), made)
    module = type(f"Module{called}", (nn.Module,), made)()
    torch.manual_seed(0)  # the same maps are dead
    convolution = type(f"Conv2d{called}", (nn.Conv2d,), {})
    module.called, module.fails = called, fails
    module.add_module(f"conv{called}", convolution(3, 8, 4, 4))
    module.add_module(f"mix{called}", nn.Linear(8, 8))
    module.add_module(f"unused{called}", nn.Linear(8, 8))
    return module.eval()


def run_called(called: str, fails: str = "") -> ModuleRun:
    return run_module(module_called(called, fails), ["1,3,16,16"], "edges")


def module_panels(called: str, run: ModuleRun) -> Iterator[str]:
    """Everything that the page of a module draws."""
    report = run.report
    yield module_summary.alerts_html(report)
    yield module_summary.summary_html(report)
    yield module_summary.status_html(report, called)
    yield module_summary.module_table_html(report, row_keys(report.rows)[0])
    if report.failure:
        yield module_maps.failed_html(report.failure)
    for row in range(len(report.rows)):
        for cell in ("", "2"):
            yield module_maps.module_maps_html(
                run, row, cell=cell, aspect=1.3, width=400, sorting=called, scale=called
            )
        yield module_reach.module_reach_html(run, row, place=called, width=400)


@pytest.mark.parametrize("fails", ["", "own", "torch"])
@pytest.mark.parametrize("called", [text.replace("\0", "") for text in HOSTILE])
def test_the_names_of_a_module_add_nothing_to_its_page(called: str, fails: str) -> None:
    hostile, plain = (
        [skeleton(html) for html in module_panels(name, run_called(name, fails))]
        for name in (called, PLAIN)
    )
    assert hostile == plain


# ---- the panels of a stem -------------------------------------------------------------------


def explanation(called: str) -> Explanation:
    return Explanation(
        kind=called,
        sentence=called,
        fixes=(called, called),
        likelihood="likely",
        because=called,
        numbers={},
    )


def timing(called: str) -> Timing:
    spread = Spread(median=2e-3, low=1e-3, high=3e-3)
    return Timing(
        prediction=predict(STEM),
        layers=tuple(
            LayerTime(name=f"{name}{called}", spread=spread, resolved=resolved)
            for name, resolved in (("conv1", True), ("norm1", False))
        ),
        bare=spread,
        hooked=spread,
        floor=1e-6,
        rounds=1,
        wanted=2,
        device=called,
        device_title=called,
    )


def witness(called: str) -> Witness:
    return Witness(
        name=called,
        macs=3,
        convention=called,
        status="partial",
        reason=called,
        layers={f"conv1{called}": 3},
    )


def light_panels(called: str) -> Iterator[str]:
    """What can be drawn without a run."""
    error = SpecError(called, called, called, called, called)
    yield messages.error_html(error)
    yield module_summary.broken_html(error)
    yield messages.explanations_html([explanation(called)] * 5)
    yield costs.time_html(timing(called), width=300)
    yield costs.time_html(None, width=300, device=called)
    yield costs.witnesses_html([witness(called), witness(called)])
    row = dict.fromkeys(("kernel_size", "stride", "padding", "out_channels"), called)
    more = dict.fromkeys(("norm", "activation", "dilation", "groups", "bias"), called)
    yield editor.editor_html([{**row, **more}] * 2)


@given(called=TEXTS)
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_words_of_a_request_or_of_a_library_add_nothing_to_a_panel(called: str) -> None:
    assert [skeleton(html) for html in light_panels(f"x{called}")] == [
        skeleton(html) for html in light_panels(PLAIN)
    ]


@pytest.mark.parametrize("called", HOSTILE)
def test_files_of_weights_and_devices_add_nothing_to_a_panel(called: str) -> None:
    report = inspect(prepare(STEM, "edges", device="cpu", norm_statistics="stored"))
    hostile, plain = (
        replace(report, weights=name, device=name, device_title=name, run_notes=(name, name))
        for name in (called, PLAIN)
    )
    for draw in (
        lambda of: summary.status_html(of.prediction, of),
        lambda of: maps.maps_html(of.prediction, of, "norm1", aspect=1, width=300, sorting=called),
    ):
        assert skeleton(draw(hostile)) == skeleton(draw(plain))


@pytest.mark.parametrize("called", HOSTILE)
def test_layers_on_a_plot_are_titles_alone(called: str) -> None:
    hostile, plain = (
        time_plot([Dot(name=name, x=1e3, y=1e-3)], x_title="MACs", width=300)
        for name in (called.replace("\0", "").replace("$", ""), PLAIN)
    )
    assert skeleton(hostile) == skeleton(plain)


@pytest.mark.parametrize("called", HOSTILE)
def test_what_a_link_asks_for_adds_nothing_to_an_answer(called: str) -> None:
    for field in ("stem", "height", "image", "dtype", "weights", "layer", "view", "cell", "token"):
        hostile, plain = (call("predict", {**START, field: name}) for name in (called, PLAIN))
        assert ("error" in hostile) == ("error" in plain)
        if "error" in hostile:
            hostile, plain = hostile["error"], plain["error"]
        for part in ("html", "panel", "status", "totals", "table", "editor"):
            assert skeleton(hostile.get(part, "")) == skeleton(plain.get(part, ""))


def test_the_reason_of_a_failure_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STRICT_RULES, raising=False)

    def fail(message: str) -> str:
        raise ValueError(message)

    for called in HOSTILE:
        assert skeleton(drawn("The panel", fail, called)) == [("p", ["class", "role"])]
        with answering(lambda error: {}) as answer:
            fail(called)
        html = answer["error"]["html"]
        assert skeleton(html) == [("p", ["role"]), ("button", ["data-retry", "type"])]
