"""What the page is answered: pictures by their content, odd requests, cached reports."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.ui.requests import START, call
from vitc_inspect.model.checkpoints import save_weights
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.ui import server, stem_runner
from vitc_inspect.ui.server import Inspector
from vitc_inspect.ui.worker_queues import Overtaken


@pytest.mark.parametrize(
    ("name", "request_", "says"),
    [
        ("predict", None, "image_size"),
        ("predict", [], "image_size"),
        ("predict", {**START, "rows": "x"}, "convs = "),
        ("predict", {**START, "rows": []}, "convs = "),
        ("predict", {**START, "rows": [None]}, "proj.out_channels"),
        ("predict", {**START, "stem": "1x1:1," * 30_000}, "the most is 4,000"),
        ("open_picture", {"path": "/etc/passwd"}, "the file is empty"),
        ("open_picture", {"data": "/etc/passwd"}, "it is no base64"),
        ("open_picture", {"data": "data:image/png;base64,é"}, "it is no base64"),
        ("open_picture", {"data": "http://example.invalid/"}, "it is no base64"),
        ("open_picture", {"data": ["AAAA"]}, "it is no base64"),
        ("open_picture", {"data": "AAAA"}, "it is no PNG, JPEG"),
        ("open_picture", {}, "the file is empty"),
        ("run", {**START, "device": "cuda:9"}, "device = "),
        ("witnesses", {**START, "seed": "-1"}, "seed = -1"),
        ("time", {**START, "dtype": "float8"}, "dtype = "),
        ("save", {**START, "encoder": "1", "layer": "block1.qkv"}, "its output was not kept"),
        ("run", {**START, "weights": "file:x.pt"}, "the program was not started with this file"),
        ("predict", {**START, "weights": "ones"}, "weights = "),
        ("predict", {**START, "norm_statistics": "none"}, "norm_statistics = "),
        ("predict", {**START, "fit": "none"}, "fit = "),
        ("predict", {**START, "preset": "vit_c_5gf"}, "preset = "),
        ("predict", {**START, "height": "a", "width": "a"}, "image_size = &#x27;a&#x27;: "),
        ("predict", {**START, "height": "a", "width": "b"}, "image_size = a x b: "),
        ("predict", {**START, "height": "0", "width": "0"}, "image_size = 0 x 0: "),
    ],
)
def test_an_odd_request_is_answered_with_a_sentence(name: str, request_: Any, says: str) -> None:
    assert says in call(name, request_)["error"]["html"]


def explained(request: dict[str, str]) -> str:
    """What a reader sees of "how these come about"."""
    fold = call("predict", {**START, **request})["totals"].partition("<details")[2]
    return " ".join(unescape(re.sub("<[^>]*>", " ", fold)).split())


def test_the_totals_are_explained_from_the_image_to_the_tokens() -> None:
    words = explained({})
    assert "rows, columns 224 → 112 → 56 → 28 → 14 → 14; of n a convolution makes floor(" in words
    assert "image tokens 14·14 = 196 tokens 196 + 1 = 197 width 192 numbers" in words
    assert "dilated" not in words
    words = explained({"height": "240", "width": "200", "stem": "3x3/2:8 d2, 16x16/16:8"})
    assert "rows 240 → 119 → 7; of n" in words  # (240 + 2 - 5) // 2 + 1, 119 // 16
    assert (
        "where a dilated kernel counts as dilation·(kernel − 1) + 1 columns 200 → 99 → 6" in words
    )


def test_the_parts_of_a_total_add_up_to_it() -> None:
    words = explained({"encoder": "1", "depth": "3", "num_heads": "3", "mlp_ratio": "2"})
    sums = re.findall(r"(?:\S+ [\d,]+ \+ )+\S+ [\d,]+ = [\d,]+", words)
    assert [line.count("attention") for line in sums] == [1, 1, 1]  # MACs, params, activations
    for line in sums:
        terms, _, total = line.replace(",", "").rpartition(" = ")
        assert sum(int(term.split()[-1]) for term in terms.split(" + ")) == int(total)


def test_too_many_rows_are_refused_and_not_cut_off() -> None:
    row = {
        "kernel_size": "1", "stride": "1", "padding": "0", "out_channels": "4", "dilation": "1",
        "groups": "1", "bias": "1", "norm": "none", "activation": "none",
    }  # fmt: skip
    assert "totals" in call("predict", {**START, "rows": [row] * 64})
    error = call("predict", {**START, "rows": [row] * 65})["error"]
    assert "65 layers" in error["html"]
    assert error["suggestion"] == []
    assert "data-use" not in error["html"]


def test_what_a_person_typed_is_escaped() -> None:
    html = call("predict", {**START, "stem": "<script>alert(1)</script>"})["error"]["html"]
    assert "<script" not in html
    rows = [{"kernel_size": '3"><img src=x onerror=alert(1)>', "stride": "1"}]
    answer = call("predict", {**START, "rows": rows})
    assert "<img" not in answer["error"]["html"] + answer["editor"]


def test_a_cached_report_is_drawn_without_waiting_for_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inspector = Inspector(in_process=True)
    first = call("run", START, inspector)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it ran again")

    monkeypatch.setattr(stem_runner, "inspect", never)
    assert call("run", START, inspector) == first
    panel = call("run", {**START, "layer": "conv2", "part": "panel"}, inspector)
    assert "Output of conv2" in panel["panel"]


def test_weights_of_a_file_are_those_that_run(tmp_path: Path) -> None:
    path = tmp_path / "five.safetensors"
    stem = PRESETS["vit_c_1gf"].stem
    save_weights(build_stem(stem, seed=5), path)
    inspector = Inspector(own_weights={path.name: path}, in_process=True)
    request = {**START, "layer": "proj", "part": "panel"}
    by_file = call("run", {**request, "weights": "file:five.safetensors"}, inspector)
    by_seed = call("run", {**request, "seed": "5"}, inspector)
    other = call("run", request, inspector)
    assert by_file == by_seed != other
    whole = call("run", {**START, "weights": "file:five.safetensors"}, inspector)
    assert "five.safetensors" in whole["status"]
    assert 'norm_statistics "stored" takes the file' in unescape(whole["status"])


@pytest.mark.parametrize("cell", ["3", "3,1,2", "nonsense", "-1", "99999"])
@pytest.mark.parametrize(
    "view", ["maps", "cell", "tokens", "pixels", "cost", "length", "time", "?"]
)
def test_every_view_answers_whatever_is_asked(view: str, cell: str) -> None:
    request = {**START, "view": view, "cell": cell, "token": cell, "scale": cell, "sorting": cell}
    assert "error" not in call("predict", request)
    assert "error" not in call("run", request, SHARED)


SHARED = Inspector(in_process=True)


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ({"layer": "conv2", "cell": "5"}, {"layer": "conv2", "cell": "5"}),
        ({"layer": "conv2", "cell": "5,07,9,2"}, {"cell": "5,7,9,2"}),
        ({"layer": "conv2", "cell": "5,7,9,99"}, {"cell": "5,7,9"}),
        ({"layer": "act2", "cell": "5,7,9,2"}, {"layer": "act2", "cell": "5,7,9"}),
        ({"layer": "conv2", "cell": "9999"}, {"cell": ""}),
        ({"layer": "conv2", "cell": "5,56,0"}, {"cell": ""}),
        ({"layer": "conv2", "cell": "5,x"}, {"cell": ""}),
        ({"layer": "tokens", "cell": "5"}, {"layer": "tokens", "cell": ""}),
        ({"layer": "nothing", "cell": "5"}, {"layer": "conv1", "cell": "5"}),
        ({"token": "013,13"}, {"token": "13,13"}),
        ({"token": "14,0"}, {"token": ""}),
        ({"token": "3"}, {"token": ""}),
    ],
)
def test_the_answer_says_which_layer_cell_and_token_there_are(
    asked: dict[str, str], there: dict[str, str]
) -> None:
    """conv2 makes 48 maps of 56×56 from 24; the grid is 14×14."""
    answer = call("predict", {**START, **asked})
    assert {name: answer[name] for name in there} == there


def test_the_input_channels_of_a_group_are_those_it_reads() -> None:
    """Of 8 channels in 2 groups, map 5 of 6 reads 4 to 7."""
    request = {**START, "stem": "3x3/2:8, 3x3/2:6 g2, 1x1:8", "layer": "conv2"}
    for given, cell in (("3", "5,0,0"), ("4", "5,0,0,4"), ("7", "5,0,0,7"), ("8", "5,0,0")):
        assert call("predict", {**request, "cell": f"5,0,0,{given}"})["cell"] == cell


def test_a_measurement_goes_on_from_call_to_call_and_its_result_is_kept() -> None:
    inspector = Inspector(in_process=True)
    request = {**START, "ticket": "a", "view": "time"}
    answers = [call("time", request, inspector)]
    while not answers[-1]["done"]:
        answers.append(call("time", request, inspector))
    assert "20 runs" in answers[-1]["panel"]
    later = call("run", {**request, "seed": "9", "image": "edges"}, inspector)
    assert later["panel"] == answers[-1]["panel"]
    other = call("run", {**request, "dtype": "bfloat16"}, inspector)
    assert "Time every layer" in other["panel"]


def test_a_measurement_of_another_ticket_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem_runner, "TIMING_SECONDS", 0.0)
    inspector = Inspector(in_process=True)
    first = [call("time", {**START, "ticket": "a"}, inspector)["panel"] for _ in range(2)]
    assert "1 of 20 runs" in first[0]
    assert "2 of 20 runs" in first[1]
    assert "1 of 20 runs" in call("time", {**START, "ticket": "b"}, inspector)["panel"]


def test_a_run_longer_than_the_bound_is_refused_before_it_starts() -> None:
    inspector = Inspector(max_seconds=20, in_process=True)
    long = {**START, "preset": "", "stem": "301x301:32", "height": "800", "width": "800"}
    refusal = call("predict", long, inspector)["refusal"]
    assert re.search(
        r"would take about 4\.7 min, the most is 20 s\. Use \d+ x \d+", refusal["html"]
    )
    for name in ("run", "save", "witnesses", "time"):
        assert "the most is 20 s" in call(name, {**long, "ticket": "a"}, inspector)["error"]["html"]
    height, width = refusal["suggestion"]
    smaller = call("predict", {**long, "height": height, "width": width}, inspector)
    assert "refusal" not in smaller


def test_the_estimate_follows_what_this_machine_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made to take ten times as long as they are predicted to take."""
    inspector = Inspector(in_process=True)
    whole = {**START, "encoder": "1", "depth": "2", "num_heads": "3", "mlp_ratio": "4"}
    whole |= {"attention": "softmax", "stem": "8x8/8:96", "preset": ""}
    before = call("predict", whole, inspector)["cost"]
    slow = stem_runner.StemRunner.run
    monkeypatch.setattr(stem_runner.StemRunner, "run", lambda *given: (slow(*given)[0], 30.0))
    call("run", whole, inspector)
    after = call("predict", whole, inspector)["cost"]
    assert before.rpartition(", about ")[0] == after.rpartition(", about ")[0]
    assert after.endswith("about 30 s")


def test_a_long_run_is_made_by_the_other_worker_and_drawn_by_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every run counts as long here; the report is the same as of a small one."""
    small = Inspector(in_process=True)
    panel = {**START, "layer": "conv2", "part": "panel"}
    expected = [call("run", request, small) for request in (START, panel)]
    saved = call("save", panel, small)
    monkeypatch.setattr(server, "SMALL_SECONDS", 0.0)
    inspector = Inspector(in_process=True)
    called: list[str] = []
    for queue, name in zip(inspector.queues, ("small", "long"), strict=True):
        known = queue.call

        async def noted(method: str, *args: Any, known=known, name=name, **more: Any) -> Any:
            called.append(f"{name} {method}")
            return await known(method, *args, **more)

        monkeypatch.setattr(queue, "call", noted)
    assert [call("run", request, inspector) for request in (START, panel)] == expected
    assert call("save", panel, inspector) == saved
    made = ["small run", "long report", "small keep", "small run"]
    assert called == [*made, "small run", "small save"]
    called.clear()
    call("run", {**START, "view": "tokens"}, inspector)
    assert called == ["long run"]


def test_a_drawing_that_takes_long_while_others_wait_is_made_by_the_other_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = call("run", START, Inspector(in_process=True))
    inspector = Inspector(in_process=True)

    async def overtaken(*_: Any, **__: Any) -> Any:
        raise Overtaken

    monkeypatch.setattr(inspector.queues[0], "call", overtaken)
    assert call("run", START, inspector) == expected
    assert "panel" in call("time", {**START, "ticket": "a"}, inspector)


def test_nothing_is_cancelled_and_nothing_awaited_where_nothing_runs() -> None:
    assert call("cancel", {"ticket": "a"}) == {"cancelled": False}
    assert call("progress", {"ticket": "a"}) == {"progress": ""}
