"""What the pages answer when a request is odd or something fails: a sentence, and never nothing."""

from __future__ import annotations

import json
import logging
import random
from math import prod
from typing import Any

import pytest

from tests.ui.requests import START, call, call_module, module_inspector
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.ui import module_runner
from vitc_inspect.ui.answers import answering, drawn
from vitc_inspect.ui.module_server import ModuleServer
from vitc_inspect.ui.panels import tokens
from vitc_inspect.ui.server import Inspector, server_functions

VIEWS = ("maps", "cell", "tokens", "pixels", "cost", "length", "time", "none of them")
SIDES = (1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 32, 33, 64, 65, 224, 1023, 4096, 16_384)
STEMS = (
    *("1x1:1", "7x7/2:4", "16x16/16:8", "16x16/16p2:4", "1x1/4:3", "1x1/64:2", "1x1/128:1"),
    *("3x3/2:4 bn relu, 1x1:6", "3x3/2p0:4 ln gelu bias, 3x3/2:8 bn, 1x1:8", "2x2/2p5:4"),
    *("5x5/3p2 d2:4", "3x3/2:4 d3 g1", "3x3/2:48 bn relu, 1x1:65536", ", ".join(["1x1:2"] * 64)),
)
LAYERS = ("", "conv1", "proj", "norm1", "act1", "tokens", "class_token", "pos_embed", "block1.qkv")
FAILED = "This is a fault of vitc_inspect; the terminal it runs in has the traceback."
ODD = ("\ud800", "\udfff\ud800", "a\0b", "9" * 5_000, "é" * 9_000, "", " ", "-1", "1e999", "١")
NESTED = (
    *(None, True, 7, 1e308, float("nan"), float("inf"), -(10**40)),
    *([], ["photo"], {}, {"a": [{}]}),
)


def random_request(chance: random.Random) -> dict[str, Any]:
    """A link to anything: sizes from a pixel to the largest, every view, what is there and not."""
    height, width = chance.choice(SIDES), chance.choice(SIDES)
    if chance.random() < 0.4:  # where both are large no run follows
        height, width = chance.choice([(1, width), (height, 1), (1, 16_384), (16_384, 1)])
    return {
        **START,
        "stem": chance.choice(STEMS),
        "height": str(height),
        "width": str(width),
        "in_channels": chance.choice(("1", "2", "3", "4", "65536")),
        "class_token": chance.choice("01"),
        "position_table": chance.choice("01"),
        "image": chance.choice(("photo", "impulse", "checkerboard", "edges", "ramp")),
        "dtype": chance.choice(("float32", "bfloat16", "float16")),
        "encoder": chance.choice("01"),
        "depth": chance.choice(("1", "2", "256")),
        "num_heads": "1",
        "mlp_ratio": chance.choice(("1", "4", "0.5", "1e308")),
        "attention": chance.choice(("softmax", "linear")),
        "layer": chance.choice(LAYERS),
        "view": chance.choice(VIEWS),
        "cell": chance.choice(("", "0", "0,0,0", "3,0,0", "0,1,1,1", "99999,9,9", "a", ",1,1")),
        "token": chance.choice(("", "0,0", "0,1", "1,0", "a,b", "999999,0")),
        "sorting": chance.choice(("index", "variance", "sparsity", "mean", "x")),
        "scale": chance.choice(("layer", "channel", "stem", "x")),
        "panel_width": chance.choice((0, 240, 1200, float("nan"), None, "x")),
        "aspect": chance.choice((0, 1.3, 99, float("nan"), None)),
    }


def assert_answered(answer: dict[str, Any]) -> None:
    """It can be sent, and nothing of ours failed on the way."""
    sent = json.dumps(answer, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert b"fault of vitc_inspect" not in sent
    assert answer.get("error", {}).get("field") != "program"


@pytest.mark.parametrize("seed", range(16))
def test_whatever_a_link_asks_for_is_answered(seed: int) -> None:
    """Every view of a random link, before its run and after one that is cheap."""
    chance, inspector = random.Random(seed), Inspector(in_process=True)
    request = random_request(chance)
    answer = call("predict", request, inspector)
    assert_answered(answer)
    views = VIEWS if answer.get("auto_run") else ()
    for view in VIEWS:
        assert_answered(call("predict", {**request, "view": view, "part": "panel"}, inspector))
    if not views or predicted_cost(request) > 3 * 10**6:
        return
    for view in views:
        assert_answered(call("run", {**request, "view": view}, inspector))
    assert_answered(call("save", request, inspector))


def predicted_cost(request: dict[str, Any]) -> int:
    """About how many numbers a run makes, so that the tests stay short."""
    size = int(request["height"]), int(request["width"])
    stem = parse_stem(request["stem"], image_size=size, in_channels=int(request["in_channels"]))
    depth = int(request["depth"]) if request["encoder"] == "1" else 0
    numbers = sum(prod(stage.out_shape) for stage in stem.stages)
    quadratic = stem.seq_len**2 if request["attention"] == "softmax" else stem.seq_len
    return size[0] * size[1] * stem.in_channels + numbers + depth * (quadratic + 10**5)


THIN = {"stem": "7x7/2:4", "height": "1", "width": "16384", "encoder": "1", "depth": "1"}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(1, 16_384), (16_384, 1), (1, 1), (16_384, 16_384)])
@pytest.mark.parametrize("encoder", ["0", "1"])
def test_every_view_of_an_extreme_image_is_drawn(
    view: str, size: tuple[int, int], encoder: str
) -> None:
    request = {
        **START,
        **THIN,
        **{"num_heads": "1", "mlp_ratio": "1", "attention": "softmax", "encoder": encoder},
        **{"height": str(size[0]), "width": str(size[1]), "view": view},
    }
    answer = call("predict", request)
    assert_answered(answer)
    assert "error" not in answer


@pytest.mark.parametrize("value", [*ODD, *NESTED], ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", [f.__name__ for f in server_functions(Inspector(in_process=True))])
def test_odd_words_in_any_field_of_a_stems_page_are_answered(name: str, value: Any) -> None:
    inspector = Inspector(in_process=True)
    small = {**START, "stem": "4x4/4:4", "height": "8", "width": "8"}
    fields = [*small, "view", "layer", "cell", "token", "text", "path", "data", "rows", "ticket"]
    fields += [
        "weights",
        "norm_statistics",
        "fit",
        "sorting",
        "scale",
        "panel_width",
        "aspect",
        "part",
    ]
    for field in fields:
        if name in ("time", "witnesses") and field not in ("stem", "image", "ticket", "seed"):
            continue  # slow, and the fields are read by one function for all
        assert_answered(call(name, {**small, field: value}, inspector))
    assert_answered(call(name, value, inspector))


@pytest.fixture(scope="module")
def guest() -> ModuleServer:
    return module_inspector("SlicedTable")


@pytest.mark.parametrize("value", [*ODD, *NESTED], ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", ["show", "changed", "save", "picture", "open_picture"])
def test_odd_words_in_any_field_of_a_modules_page_are_answered(
    name: str, value: Any, guest: ModuleServer
) -> None:
    fields = ["image", "sizes", "layer", "view", "cell", "token", "sorting", "scale", "part"]
    fields += ["panel_width", "aspect", "reading", "path", "data", "fit"]
    for field in fields:
        for view in ("maps", "reach", "pixels") if name == "show" else ("maps",):
            asked = {"image": "photo", "view": view, field: value}
            assert_answered(call_module(name, asked, guest))
    asked = {"image": "photo", "sizes": [value]}
    assert_answered(call_module(name, asked, guest))
    assert_answered(call_module(name, value, guest))


# ---- what fails ------------------------------------------------------------------------------


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("by <nothing>.\nMore.")


@pytest.fixture
def forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """What visitors have, where tests may be strict."""
    monkeypatch.delenv(STRICT_RULES, raising=False)


@pytest.mark.usefixtures("forgiving")
@pytest.mark.parametrize(
    ("place", "part", "what"),
    [
        ("strip_svg", "strip", "The strip"),
        ("layers.table_html", "table", "The table"),
        ("summary.totals_html", "totals", "The summary"),
        ("summary.status_html", "status", "The status"),
        ("panel", "panel", "The panel"),
    ],
)
def test_a_part_that_cannot_be_drawn_says_so_and_the_rest_stays(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
    part: str,
    what: str,
) -> None:
    whole = call("predict", START)
    home = "server" if place == "panel" else "stem_answers"
    monkeypatch.setattr(f"vitc_inspect.ui.{home}.{place}", broken)
    answer = call("predict", START)
    says = f"{what} could not be drawn: ZeroDivisionError: by &lt;nothing&gt;. More."
    assert f"{says} {FAILED}" in answer[part]
    assert {**answer, part: ""} == {**whole, part: ""}
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.levelno == logging.ERROR


@pytest.mark.usefixtures("forgiving")
def test_a_panel_that_runs_the_stem_again_may_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "tokens_html", broken)
    answer = call("run", {**START, "view": "tokens"})
    assert "The panel could not be drawn: ZeroDivisionError" in answer["panel"]
    assert "agree" in answer["status"]


@pytest.mark.usefixtures("forgiving")
def test_a_panel_of_a_modules_page_may_fail_and_the_rest_stays(
    monkeypatch: pytest.MonkeyPatch, guest: ModuleServer
) -> None:
    monkeypatch.setattr(module_runner, "module_maps_html", broken)
    answer = call_module("show", {"image": "photo"}, guest)
    assert "The panel could not be drawn: ZeroDivisionError" in answer["panel"]
    assert "1 fault found" in answer["alerts"]


@pytest.mark.parametrize("name", [f.__name__ for f in server_functions(Inspector(in_process=True))])
def test_whatever_fails_on_a_stems_page_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setattr(Inspector, name, broken)
    (html,) = [call(name, START)["error"]["html"]]
    says = "This could not be worked out: ZeroDivisionError: by &lt;nothing&gt;. More."
    assert f"{says} {FAILED}" in html
    assert "data-retry" in html
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("name", ["show", "reload", "changed", "save", "open_picture"])
def test_whatever_fails_on_a_modules_page_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    guest: ModuleServer,
    name: str,
) -> None:
    monkeypatch.setattr(ModuleServer, name, broken)
    answer = call_module(name, {}, guest)
    assert answer["error"]["field"] == "program"
    assert FAILED in answer["error"]["html"]
    assert "Traceback" in caplog.text


def test_what_is_wrong_with_a_choice_is_no_failure_of_a_panel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer = call("run", {**START, "view": "tokens", "height": "0"})
    assert answer["error"]["field"] == "image_height"
    assert caplog.records == []


def test_a_rule_that_fails_is_raised_where_rules_are_strict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(ZeroDivisionError):
        drawn("The panel", broken)
    assert drawn("The panel", lambda: "<p>") == "<p>"


def test_halves_of_characters_are_replaced_and_whole_ones_stay() -> None:
    with answering(lambda error: {}) as answer:
        answer.update({"a": ["x\ud83dy", {"b": "𝄞 \udc00"}], "n": 3})
    assert answer == {"a": ["x\ufffdy", {"b": "𝄞 \ufffd"}], "n": 3}
