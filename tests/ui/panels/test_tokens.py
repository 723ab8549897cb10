"""The token and pixel panels, held against geometry, against whole runs, and against liars."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from html import unescape
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from tests.probes.stems import token_vectors
from tests.strategies import stem_specs
from vitc_inspect.common.images import image_array
from vitc_inspect.inspection.stem_inspection import PreparedRun, inspect, prepare
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.gradients import batch_statistics, token_field
from vitc_inspect.probes.token_order import FLATTENINGS, order_of
from vitc_inspect.stem.geometry import audit_pixels, token_box, token_centre, tokens_reading
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem
from vitc_inspect.tracing.hooks import image_statistics
from vitc_inspect.ui.panels import tokens
from vitc_inspect.ui.panels.pixels import pixels_html
from vitc_inspect.ui.panels.tokens import first_token, tokens_html
from vitc_inspect.views.flattening_orders import place_colours, ways
from vitc_inspect.views.pixels import frame_of, mosaic, reads_uri

SMALL = conv_stem((8, 16), embed_dim=12, image_size=(32, 40))
FEW = {"derandomize": True, "deadline": None, "database": None}


def ran(spec: StemSpec, **options: Any) -> tuple[PreparedRun, Report]:
    bench = prepare(spec, device="cpu", **options)
    return bench, inspect(bench)


def panel(spec: StemSpec, token: str = "", width: int = 380, **options: Any) -> str:
    bench, report = ran(spec, **options)
    return tokens_html(bench, report, token=token, width=width)


def facts(html: str, name: str = "tokens") -> dict[str, Any]:
    """What the page is given to answer the pointer with."""
    found = re.search(rf'data-{name}="([^"]*)"', html)
    assert found
    return dict(json.loads(unescape(found[1])))


def said(html: str) -> str:
    """The text of a panel."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def chosen(html: str) -> tuple[int, ...]:
    return tuple(facts(html)["chosen"])


# The part of the image that is run again.


class Unknown(nn.Module):
    """A layer that is none of ours, so that the whole image is run."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input


def noise(spec: StemSpec) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(1, spec.in_channels, *spec.image_size, generator=draw)


@given(spec=stem_specs(max_side=40), data=st.data())
@settings(max_examples=60, **FEW)
def test_the_part_gives_the_token_and_the_gradient_of_the_whole(
    spec: StemSpec, data: st.DataObject
) -> None:
    row, column = (data.draw(st.integers(0, side - 1)) for side in spec.grid_size)
    module, image = build_stem(spec), noise(spec)
    statistics = batch_statistics(module, image)
    part = token_field(module, image, row, column, statistics=statistics)
    whole_module = nn.Sequential()
    for name, layer in module.named_children():
        if name == "tokens":
            whole_module.add_module("unknown", Unknown())
        whole_module.add_module(name, layer)
    whole = token_field(whole_module, image, row, column, statistics=statistics)
    assert (whole.rows.length, whole.columns.length) == spec.image_size
    heat = np.zeros(spec.image_size)
    heat[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop] = part.heat
    # a layer normalisation of few channels enlarges roundings
    assert np.allclose(heat, whole.heat, rtol=1e-2, atol=1e-3 * max(1, whole.heat.max()))
    assert np.allclose(part.vector, whole.vector, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["vit_c_4gf", "levit_256", "pvt_v2_b2", "vitpose_b"])
def test_statistics_held_still_give_the_token_of_the_run(name: str) -> None:
    bench, _ = ran(PRESETS[name].stem)
    with bench.normalising():
        vectors = token_vectors(bench.module, bench.batch)
    rows, columns = vectors.shape[:2]
    for row, column in ((0, 0), (rows - 1, columns - 1), (rows // 2, 3)):
        field = token_field(bench.module, bench.batch, row, column, statistics=bench.statistics)
        assert np.allclose(field.vector, vectors[row, column], atol=1e-4)


def test_the_gradient_is_looked_for_beyond_the_box() -> None:
    bench, _ = ran(PRESETS["vit_c_4gf"].stem)
    field = token_field(bench.module, bench.batch, 7, 7)
    box = token_box(bench.prediction.spec, 7, 7)
    assert (field.rows.start, field.rows.stop) == (box.rows.start - 16, box.rows.stop + 16)


def test_statistics_are_those_of_the_normalisation() -> None:
    module, image = build_stem(SMALL), noise(SMALL)
    found = batch_statistics(module, image)
    assert set(found) == {"norm1", "norm2"}
    outputs = []
    module.norm1.register_forward_hook(lambda _, given, output: outputs.append((given, output)))
    with torch.no_grad(), image_statistics(module):
        module(image)
    given, output = outputs[0]
    mean, var = (statistic.view(1, -1, 1, 1) for statistic in found["norm1"])
    assert torch.allclose((given[0] - mean) / (var + 1e-5).sqrt(), output, atol=1e-5)
    assert ran(SMALL, norm_statistics="stored")[0].statistics == {}


# What the token panel says.

FIRST = (3, 6)  # of 8 rows and 10 columns: near the middle and off the diagonal


@pytest.mark.parametrize(
    ("token", "place"),
    [
        ("3,5", (3, 5)),
        ("0,0", (0, 0)),
        ("7,9", (7, 9)),
        ("", FIRST),
        ("8,0", FIRST),
        ("0,10", FIRST),
        ("-1,2", FIRST),
        ("1", FIRST),
        ("1,2,3", FIRST),
        ("1.5,2", FIRST),
        ("²,1", FIRST),
        ("٣,1", FIRST),
        ("9" * 5000 + ",1", FIRST),
        ("<script>,'\"", FIRST),
    ],
)
def test_what_is_no_token_is_the_first_one_shown(token: str, place: tuple[int, int]) -> None:
    html = panel(SMALL, token)
    assert chosen(html) == place
    assert "<script" not in html


@pytest.mark.parametrize(
    "name", ["vit_c_4gf", "vit_p_18gf", "pit_s", "swin_t", "pvt_v2_b2", "vitpose_b", "levit_256"]
)
def test_every_statement_holds_for_stems_of_the_field(name: str) -> None:
    bench, report = ran(PRESETS[name].stem)
    rows, columns = report.spec.grid_size
    for token in ("0,0", f"{rows - 1},{columns - 1}", ""):
        html = tokens_html(bench, report, token=token, width=380)
        assert "✗" not in html
        assert "✓ Every pixel with a gradient lies inside the box." in said(html)
        assert "keeps the order" in said(html)
        assert len(html) < 100_000


def test_a_box_that_is_too_small_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_small(spec: StemSpec, row: int, column: int) -> Any:
        box = token_box(spec, row, column)
        return replace(box, rows=replace(box.rows, stop=box.rows.stop - 1))

    monkeypatch.setattr(tokens, "token_box", too_small)
    assert "✗ 31 pixels with a gradient lie outside the box." in said(
        panel(PRESETS["vit_c_4gf"].stem)
    )


def test_a_box_that_is_too_large_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(spec: StemSpec, row: int, column: int) -> Any:
        box = token_box(spec, row, column)
        return replace(box, columns=replace(box.columns, start=box.columns.start - 1))

    monkeypatch.setattr(tokens, "token_box", too_large)
    text = said(panel(PRESETS["vit_c_4gf"].stem))
    assert "reaches the top, bottom and right edges of the box and not the left edge;" in text


def test_a_stem_that_flattens_wrongly_is_caught() -> None:
    bench, report = ran(SMALL)

    class Wrong(nn.Module):
        def forward(self, map: torch.Tensor) -> torch.Tensor:
            return FLATTENINGS["columns first"](map)

    bench.module.tokens = Wrong()
    text = said(tokens_html(bench, report, token="", width=380))
    assert "✗ This stem's own layer tokens does not keep the order" in text
    assert "this stem" not in text.replace("This stem", "")


def test_the_formula_of_the_box_stands_beside_its_size() -> None:
    """Token 0 of the padded stem reads 15 pixels of padding, token 13 none (FACTS, section 1)."""
    text = said(panel(PRESETS["vit_c_4gf"].stem, "0,13"))
    assert "rows 0·16 − 15 = −15 to −15 + 30 = 15" in text
    assert "columns 13·16 − 15 = 193 to 193 + 30 = 223" in text
    assert "31×31 px , of it padding: 15 rows above" in text


@pytest.mark.parametrize(("spec", "first"), [(patchify_stem(), 8.0), (conv_stem(), 0.5)])
def test_points_stand_at_the_centres_of_the_fields(spec: StemSpec, first: float) -> None:
    """A pixel's middle is half a pixel in: 7.5 is drawn at 8, and 0 at 0.5."""
    html = panel(replace(spec, image_size=(64, 64)), "1,2")
    assert facts(html)["first"] == [first, first]
    assert f'<pattern id="token-dots" patternUnits="userSpaceOnUse" x="{first - 8:g}"' in html
    assert f'class="token-chosen" cx="{first + 32:g}" cy="{first + 16:g}"' in html


@given(spec=stem_specs(max_side=40), data=st.data())
@settings(max_examples=40, **FEW)
def test_any_stem_is_drawn_and_its_readers_are_those_of_geometry(
    spec: StemSpec, data: st.DataObject
) -> None:
    place = tuple(data.draw(st.integers(0, side - 1)) for side in spec.grid_size)
    html = panel(spec, "{},{}".format(*place))
    assert chosen(html) == place
    assert "outside the box" not in html
    assert "token-photo" in html
    pixel = tuple(data.draw(st.integers(0, side - 1)) for side in spec.image_size)
    found = [
        [
            token
            for first, last, step in zip(*(iter(stretches),) * 3, strict=True)
            for token in range(first, last + 1, step)
        ]
        for _, *stretches in (
            max(entry for entry in axis if entry[0] <= at)
            for axis, at in zip(facts(html)["readers"], pixel, strict=True)
        )
    ]
    expected = tokens_reading(spec, *pixel)
    assert [(row, column) for row in found[0] for column in found[1]] == list(expected)


def test_large_stems_stay_small() -> None:
    large = replace(parse_stem("16x16/16:4096"), image_size=(1024, 1024))
    html = panel(large)
    assert len(html) < 200_000
    assert "3 apart" in said(html)  # of 4096 numbers
    huge = replace(parse_stem("16x16/16:8"), image_size=(2048, 2048))
    assert "The image is drawn from pixels 4 apart." in said(panel(huge))
    assert len(pixels_html(predict(huge), None, width=380)) < 30_000


def test_a_grid_of_one_token_has_nothing_to_compare() -> None:
    text = said(panel(parse_stem_at("1x1:4", (1, 1))))
    assert "There is no other token to compare it with." in text
    assert "same shape, same tokens" in text


def parse_stem_at(notation: str, size: tuple[int, int]) -> StemSpec:
    return replace(parse_stem(notation), image_size=size)


def test_a_token_that_no_pixel_moves_says_so() -> None:
    bench, report = ran(parse_stem_at("4x4/4:3 relu", (8, 8)))
    bench.module.proj.weight.data.zero_()
    bench.module.proj.bias.data.fill_(-1)
    text = said(tokens_html(bench, report, token="", width=380))
    assert "No pixel moves this token: its gradient is 0 everywhere." in text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_formats_are_drawn(dtype: Any) -> None:
    assert "Every pixel with a gradient lies inside the box." in said(panel(SMALL, dtype=dtype))


# The order of the tokens.


@given(grid_size=st.tuples(st.integers(1, 9), st.integers(1, 9)), channels=st.integers(1, 20))
@settings(max_examples=40, **FEW)
def test_sources_are_what_an_experiment_finds(grid_size: tuple[int, int], channels: int) -> None:
    for way in ways(grid_size, channels):
        order = order_of(FLATTENINGS[way.name], grid_size, channels)
        assert way.as_foreseen
        assert way.right == order.rows_first
        for place in range(grid_size[0] * grid_size[1]):
            cells, maps = way.sources(place)
            assert cells.tolist() == order.cells[place].tolist()
            assert maps.tolist() == order.channels[place].tolist()


def test_a_token_has_the_mean_colour_of_its_cells() -> None:
    draw = np.random.default_rng(0)
    cells = draw.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    for way in ways((3, 4), 5):
        found = place_colours(way, cells, np.arange(12), step=1)
        for place in range(12):
            mean = cells.reshape(12, 3)[way.sources(place)[0]].mean(axis=0)
            assert np.abs(found[place] - mean).max() <= 0.5


def test_a_mosaic_of_patches_has_their_mean_colours() -> None:
    spec = patchify_stem(4, 6, image_size=(12, 8))
    array = image_array("ramp", spec.image_size, 3)
    means = array.reshape(3, 3, 4, 2, 4).mean(axis=(2, 4)).transpose(1, 2, 0)
    assert np.abs((means + 1) * 127.5 - mosaic(array, spec, step=1)).max() < 1


# The pixels.


def test_the_fault_of_vitpose_is_the_first_thing_said() -> None:
    text = said(pixels_html(predict(PRESETS["vitpose_b"].stem), None, width=380))
    assert text.startswith(
        "✗ 2 of 256 rows and 2 of 192 columns are never read: rows 254, 255 and columns 190, 191."
        " Every shape is right without them."
    )
    assert "above 2 , below 0 , left 2 , right 0 px" in text
    assert "892 of 49,152 (1.8 %)" in text  # 2·192 + 2·256 − 2·2


def test_a_gap_between_fields_has_one_sign_of_minus() -> None:
    text = said(pixels_html(predict(parse_stem("8x8/15p0:4")), None, width=380))
    assert "8 − 15 = −7: neighbouring fields leave a gap of 7 px" in text


@pytest.mark.parametrize(
    ("notation", "verdict"),
    [
        ("3x3/2:4, 3x3/2:4", "✓ Every pixel is read, the least by 1 token, the most by 4."),
        ("16x16/16:4", "✓ Every pixel is read, by exactly 1 token."),
        ("1x1/2:4", "✗ 16 of 32 rows and 16 of 32 columns are never read: rows 1, 3, 5, … 31"),
        ("31x31/1p0:4", "✓ Every pixel is read, the least by 1 token, the most by 4."),
        ("31x31/2p0:4", "✗ 1 of 32 rows and 1 of 32 columns are never read: row 31 and column 31."),
    ],
)
def test_the_verdict_is_one_sentence(notation: str, verdict: str) -> None:
    spec = parse_stem_at(notation, (32, 32))
    assert said(pixels_html(predict(spec), None, width=380)).startswith(verdict)


@given(spec=stem_specs(max_side=64))
@settings(max_examples=60, **FEW)
def test_the_picture_shows_how_many_tokens_read_each_pixel(spec: StemSpec) -> None:
    audit = audit_pixels(spec)
    data = b64decode(reads_uri(audit.row_reads, audit.column_reads).partition(",")[2])
    alpha = np.asarray(Image.open(BytesIO(data)).convert("RGBA"))[..., 3].astype(int)
    reads = np.outer(audit.row_reads, audit.column_reads)
    assert ((alpha == 0) == (reads == 0)).all()
    order = np.argsort(reads, axis=None)
    assert (np.diff(alpha.ravel()[order]) >= 0).all()
    html = pixels_html(predict(spec), None, width=380)
    assert ("never read:" in said(html)) == bool(audit.unread_pixels)
    given = facts(html, "pixels")["reads"]
    for axis, counts in enumerate((audit.row_reads, audit.column_reads)):
        found = [max(run for run in given[axis] if run[0] <= at)[1] for at in range(len(counts))]
        assert found == list(counts)


def test_the_image_stands_under_the_counts_after_the_run() -> None:
    bench, report = ran(SMALL)
    assert "pixel-photo" not in pixels_html(bench.prediction, None, width=380)
    assert "pixel-photo" in pixels_html(bench.prediction, report.input, width=380)


@given(spec=stem_specs(max_side=64), width=st.integers(240, 1200))
@settings(max_examples=60, **FEW)
def test_the_frame_holds_the_image_its_padding_and_every_point(spec: StemSpec, width: int) -> None:
    frame = frame_of(spec, width=width)
    assert frame.shown <= width
    assert frame.height / frame.unit <= 401
    for token in ((0, 0), tuple(side - 1 for side in spec.grid_size)):
        y, x = token_centre(spec, *token)
        if not frame.cut:
            assert frame.left <= x + 0.5 <= frame.left + frame.width
            assert frame.top <= y + 0.5 <= frame.top + frame.height


@pytest.mark.parametrize("rows", range(1, 16))
@pytest.mark.parametrize("columns", range(1, 16))
def test_the_token_shown_first_tells_a_wrong_order_where_any_can(rows: int, columns: int) -> None:
    row, column = first_token((rows, columns))
    places = [(r, c) for r in range(rows) for c in range(columns)]
    assert (row, column) in places
    telling = [(r, c) for r, c in places if r * columns + c != c * rows + r]
    assert (row, column) in telling or not telling
    if rows > 3 and columns > 3:
        assert 0 < row < rows - 1
        assert 0 < column < columns - 1
