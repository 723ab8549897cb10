"""The strip of a module: its blocks, what they say, where it stopped."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from tests import faulty
from tests.views.models import module_strip_svg, small_vit
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.inspection.stem_inspection import inspect, prepare
from vitc_inspect.inspection.stem_report import Report, rows_before_the_run
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views.strip import FAILED, strip_svg


def report_on(module: nn.Module, side: int = 32, channels: int = 3) -> ModuleReport:
    image = torch.zeros(1, channels, side, side)
    return inspect_call(module.eval(), (image,), keep_bytes=2**22)


def blocks(svg: str) -> list[str]:
    """What each block that can be chosen says of itself."""
    return re.findall(r'data-layer="[^"]*" data-layers="[^"]*" aria-label="([^"]*)"', svg)


def test_norm_and_activation_belong_to_the_block_before() -> None:
    svg = module_strip_svg(report_on(faulty.Activated()), selected=None)
    assert blocks(svg) == ["conv, 8×16×16, agrees"]
    assert ">bn relu</text>" in svg


def test_functions_are_blocks_of_their_own_without_a_verdict() -> None:
    svg = module_strip_svg(report_on(faulty.SlicedTable()), selected="/cat:1")
    assert blocks(svg) == [
        "proj, 16×8×8, agrees",
        "flatten, 16×64",
        "mT, 64×16",
        "expand, 1×16",
        "cat, 65×16",
        "__getitem__, 65×16",
        "add, 65×16",
    ]
    (chosen,) = re.findall(r'class="block ([^"]*) chosen"', svg)
    assert "function" in chosen


def test_the_operation_that_failed_is_red_and_what_would_have_followed_is_grey() -> None:
    svg = module_strip_svg(report_on(faulty.Raising()), selected=FAILED)
    assert blocks(svg)[-1] == "add, 8×8×8, raised"
    assert re.findall(r'class="block not-reached"', svg) == ['class="block not-reached"']
    assert "not reached" in svg


def test_where_nothing_ran_a_number_is_no_name_by_itself() -> None:
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
    svg = module_strip_svg(report_on(module), selected=FAILED)
    assert re.findall(r'class="name"[^>]*>([^<]*)<', svg) == [
        "input",
        "conv2d",
        "ReLU 1",
        "Conv2d 2",
    ]
    assert re.findall(r'class="made"[^>]*>([^<]*)<', svg)[0] == "in 0"


def test_a_layer_that_raised_is_one_block() -> None:
    svg = module_strip_svg(report_on(faulty.Unpermuted()), selected=None)
    assert blocks(svg) == ["proj, 16×8×8, agrees", "linear, 16×8×8, raised"]


@pytest.mark.parametrize(("depth", "most"), [(1, 20), (5, 20)])
def test_a_whole_model_stays_short(depth: int, most: int) -> None:
    drawn = blocks(module_strip_svg(report_on(small_vit(depth)), selected=None))
    assert len(drawn) <= most
    assert drawn[0] == "conv1, 24×16×16, agrees"


def test_names_are_written_as_text() -> None:
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>&", nn.Conv2d(3, 4, 1))

        def forward(self, image):
            return next(self.children())(image)

    svg = module_strip_svg(report_on(Odd()), selected=None)
    assert "<b>" not in svg
    assert "&lt;b&gt;&amp;" in svg


def stem_strip(spec: StemSpec | ViTSpec, *, ran: bool) -> str:
    """The strip of a stem or a model, as the page draws it before the run or after it."""
    report = prepared_report(spec) if ran else None
    prediction = predict(spec)
    rows = report.rows if report else rows_before_the_run(prediction)
    return strip_svg(
        rows,
        keys=[row.name for row in rows],
        inputs=[(1, prediction.spec.in_channels, *prediction.spec.image_size)],
        selected="conv1",
        label="The stem",
    )


def prepared_report(spec: StemSpec | ViTSpec) -> Report:
    return inspect(prepare(spec, "ramp", device="cpu"))


def test_a_stem_is_a_block_for_each_stage_and_step() -> None:
    stem = parse_stem("3x3/2:8 bn relu, 3x3/2:16 ln gelu, 1x1:24", image_size=(32, 48))
    for ran, word in ((False, "predicted"), (True, "agrees")):
        svg = stem_strip(stem, ran=ran)
        assert blocks(svg) == [
            f"conv1, 8×16×24, {word}",
            f"conv2, 16×8×12, {word}",
            f"proj, 24×8×12, {word}",
            f"tokens, 96×24, {word}",
            f"class_token, 97×24, {word}",
            f"pos_embed, 97×24, {word}",
        ]
        made = re.findall(r'class="made"[^>]*>([^<]*)<', svg)
        assert made[:5] == ["3x3/2", "bn relu", "3x3/2", "ln gelu", "1x1"]
        assert made[-4:] == ["prepend", "1 token", "add", "positions"]
        assert svg.count('class="prefix"') == 2  # the class token, and what follows it
        assert ("<image" in svg) == ran


def test_the_encoder_is_one_block_and_opens_its_first() -> None:
    stem = parse_stem("4x4/4:24", image_size=8)
    svg = stem_strip(ViTSpec(stem=stem, depth=3, num_heads=2, mlp_ratio=4.0), ran=False)
    assert blocks(svg)[-2:] == ["encoder, 5×24, predicted", "head, 1000, predicted"]
    layers = re.findall(r'data-layers="(block1[^"]*)"', svg)
    assert len(layers) == 1
    assert "block2" not in layers[0]
    assert ">3 blocks</text>" in svg
