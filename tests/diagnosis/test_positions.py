"""Errors of adding a position table: image, stride and tokens before the grid."""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, zeros
from torch.nn import functional as F

from tests.diagnosis.errors import SUM, Embedding, explain, stems
from tests.diagnosis.runs import WIDTH, Made, best, cut, embedding, run, tokens
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.diagnosis.grids import sides_for
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem


def test_the_story_of_257_and_197() -> None:
    best, *others = explain(lambda: Embedding()(zeros(1, 3, 256, 256)))
    assert (best.kind, best.likelihood) == ("position table", "likely")
    assert "257 = 16×16 + 1" in best.sentence
    assert "197 = 14×14 + 1" in best.sentence
    assert "at stride 16 the image is 256×256 pixels, and the table was made for 224×224" in (
        best.sentence
    )
    assert best.fixes == (
        "Resize the image to 224×224 pixels.",
        "Or interpolate the table from 14×14 to 16×16 entries, and keep its first entry as it is.",
        "Or change the patch, kernel and stride, to 18: 256 // 18 = 14, which leaves 4 pixels a"
        " side unread.",
    )
    assert len({o.sentence for o in others}) > 5


def test_every_fix_for_257_and_197_works() -> None:
    model = Embedding()
    assert model(zeros(1, 3, 224, 224)).shape == (1, 197, 12)
    first, grid = model.pos_embed[:, :1], model.pos_embed[:, 1:]
    map = grid.reshape(1, 14, 14, 12).permute(0, 3, 1, 2)
    larger = nn.functional.interpolate(map, (16, 16)).flatten(2).transpose(1, 2)
    table = nn.Parameter(torch.cat((first, larger), dim=1))
    model.pos_embed = table
    assert model(zeros(1, 3, 256, 256)).shape == (1, 257, 12)
    assert Embedding(256, 18).pos_embed.shape[1] == 197
    assert Embedding(256, 18)(zeros(1, 3, 256, 256)).shape == (1, 197, 12)


@pytest.mark.parametrize(
    ("tokens", "table", "change", "numbers"),
    [  # what such a pair is known to come from in the field
        (577, 197, "image", {"image_height": 384, "table_image_height": 224, "total_stride": 16}),
        (1370, 257, "image", {"image_height": 518, "table_image_height": 224, "total_stride": 14}),
        (785, 197, "image", {"image_height": 448, "table_image_height": 224, "total_stride": 16}),
        (50, 197, "stride", {"total_stride": 32, "table_stride": 16, "image_height": 224}),
        (196, 197, "prefix", {"num_prefix_tokens": 0, "table_prefix_tokens": 1}),
        (197, 196, "prefix", {"num_prefix_tokens": 1, "table_prefix_tokens": 0}),
        (198, 197, "prefix", {"num_prefix_tokens": 2, "table_prefix_tokens": 1}),
        (201, 197, "prefix", {"num_prefix_tokens": 5, "table_prefix_tokens": 1}),
        (193, 197, "image", {"image_height": 192, "image_width": 256, "table_image_height": 224}),
        (226, 197, "image", {"image_height": 240, "table_image_height": 224}),
    ],
)
def test_the_likeliest_reading_of_pairs_known_from_the_field(
    tokens: int, table: int, change: str, numbers: dict[str, int]
) -> None:
    best = explain(lambda: zeros(1, tokens, 8) + zeros(1, table, 8))[0]
    assert (best.kind == "class token") == (change == "prefix")
    assert numbers.items() <= best.numbers.items()


def test_a_class_token_that_is_missing_is_said_in_those_words() -> None:
    assert (
        "the class token is missing"
        in explain(lambda: zeros(1, 196, 8) + zeros(1, 197, 8))[0].sentence
    )
    assert "4 registers" in explain(lambda: zeros(1, 201, 8) + zeros(1, 197, 8))[0].sentence


def test_both_roles_are_told_where_nothing_says_which_is_the_table() -> None:
    found = explain(lambda: zeros(1, 257, 8) + zeros(1, 197, 8))
    assert (found[0].numbers["tokens"], found[0].numbers["table"]) == (257, 197)
    assert "in x + table the sequence is the first operand" in found[0].because
    swapped = next(e for e in found if e.numbers["tokens"] == 197)
    assert swapped.because == "it holds if the code says table + x, with the sequence second"


SIDES = st.sampled_from(range(3, 40))


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(
    rows=SIDES,
    made=SIDES,
    stride=st.sampled_from((16, 14, 8, 32, 4)),
    prefix=st.sampled_from((0, 1, 2, 5)),
)
def test_the_true_image_is_among_the_readings(
    rows: int, made: int, stride: int, prefix: int
) -> None:
    if rows == made:
        return
    found = explain(lambda: zeros(1, rows**2 + prefix, 2) + zeros(1, made**2 + prefix, 2))
    true = {
        "image_height": rows * stride,
        "table_image_height": made * stride,
        "total_stride": stride,
        "num_prefix_tokens": prefix,
    }
    ranks = [n for n, e in enumerate(found) if true.items() <= e.numbers.items()]
    assert ranks
    if (stride, prefix) == (16, 1) and made == 14:
        assert ranks[0] <= 1


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(
    side=st.sampled_from((224, 448, 512, 256, 384)),
    strides=st.sampled_from([*product((4, 8, 16, 32), repeat=2)]),
)
def test_a_wrong_stride_is_among_the_readings(side: int, strides: tuple[int, int]) -> None:
    if strides[0] == strides[1]:
        return
    came, made = ((side // stride) ** 2 + 1 for stride in strides)
    found = explain(lambda: zeros(1, came, 2) + zeros(1, made, 2))
    true = {"total_stride": strides[0], "table_stride": strides[1], "image_height": side}
    assert any(true.items() <= e.numbers.items() for e in found)


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(spec=stems(), other=st.integers(64, 400))
def test_with_the_stem_given_its_own_reading_comes_first(spec: StemSpec, other: int) -> None:
    """The stem's own image came, and the table was made for a square of `other` pixels."""
    table = StemSpec(image_size=(other, other), convs=spec.convs, class_token=spec.class_token)
    if table.seq_len == spec.seq_len:
        return
    best = explain_error(
        f"The size of tensor a ({spec.seq_len}) must match the size of tensor b ({table.seq_len})"
        " at non-singleton dimension 1",
        spec=spec,
    )
    firsts = [
        e
        for e in best
        if (e.numbers.get("token_rows"), e.numbers.get("token_columns")) == spec.grid_size
    ]
    assert firsts
    assert best[0] == firsts[0]
    assert (best[0].numbers["image_height"], best[0].numbers["image_width"]) == spec.image_size
    made = next(e for e in best if e.numbers["table_rows"] == table.grid_size[0])
    assert made.numbers["table_columns"] == table.grid_size[1]
    low, high = sides_for(spec.convs, table.grid_size[0]) or (0, 0)
    assert low <= other <= high


def test_with_the_stem_the_sides_that_fit_are_all_named() -> None:
    spec = conv_stem(image_size=256)
    best = explain(lambda: zeros(1, 257, 8) + zeros(1, 197, 8), spec)[0]
    assert best.fixes[0] == (
        "Resize the image to 224×224 pixels; every side from 209 to 224 gives 14."
    )
    tall = patchify_stem(image_size=(256, 192))
    best = explain(lambda: zeros(1, 193, 8) + zeros(1, 197, 8), tall)[0]
    assert "193 = 16×12 + 1" in best.sentence


def test_the_patch_is_changed_only_where_there_is_one_and_then_reads_what_is_said() -> None:
    """Kernel and stride of 18 leave 256 - 14·18 = 4 of 256 pixels unread."""
    text = "The size of tensor a (257) must match the size of tensor b (197)"
    fixes = " ".join(explain_error(text, spec=PRESETS["vit_p_18gf"].stem)[0].fixes)
    assert "to 18: 256 // 18 = 14, which leaves 4 pixels" in fixes
    patches = predict(patchify_stem(18, 768, image_size=256))
    assert len(patches.layer("proj").unread_rows) == 4
    assert "18" not in " ".join(explain_error(text, spec=PRESETS["vit_c_4gf"].stem)[0].fixes)


def test_an_image_without_a_usual_size_is_whole_patches() -> None:
    text = "The size of tensor a (65) must match the size of tensor b (197)"
    best = explain_error(text, spec=PRESETS["dinov2_s14"].stem)[0]
    assert best.numbers["table_image_height"] == 14 * 14


@settings(deadline=None, derandomize=True, max_examples=40, database=None)
@given(
    image=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    side=st.integers(5, 14),
    patch=st.sampled_from((4, 8, 14)),
    padded=st.booleans(),
    prefix=st.sampled_from((1, 2)),
)
def test_no_reading_of_a_run_takes_the_image_for_another_and_its_fix_works(
    image: tuple[int, int], side: int, patch: int, padded: bool, prefix: int
) -> None:
    rows, columns = image
    if rows * columns == side**2 or (padded and patch == 14):
        return
    model = embedding(side**2 + prefix, patch, prefix, padded)
    pixels = rows * patch, columns * patch
    report = run(model, 1, 3, *pixels)
    for meaning in report.explanations:
        numbers = meaning.numbers
        assert (numbers["image_height"], numbers["image_width"]) == pixels
        assert (numbers["token_rows"], numbers["token_columns"]) == image
        # every image that a reading names is one that the table fits
        made = numbers["table_image_height"], numbers["table_image_width"]
        if numbers["table_prefix_tokens"] == prefix and numbers["table_stride"] == patch:
            assert run(model, 1, 3, *made).failure is None
    first = report.explanations[0]
    made = first.numbers["table_image_height"], first.numbers["table_image_width"]
    assert f"Resize the image to {made[0]}×{made[1]} pixels" in first.fixes[0]
    assert run(model, 1, 3, *made).failure is None


def test_a_table_that_was_interpolated_by_a_factor() -> None:
    """floor(37·(43/37)) is 42: a factor that is not exact loses a row."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        grid = m.pos_embed[:, 1:].reshape(1, 37, 37, WIDTH).permute(0, 3, 1, 2)
        how = {"scale_factor": (x.shape[2] // 2 / 37,) * 2} if m.size is None else {"size": m.size}
        grid = tokens(F.interpolate(grid, mode="nearest", **how))
        t = torch.cat([m.cls, tokens(m.stem(x))], 1)
        return t + torch.cat([m.pos_embed[:, :1], grid], 1)

    parts = {"cls": torch.zeros(1, 1, WIDTH), "pos_embed": torch.zeros(1, 37 * 37 + 1, WIDTH)}
    model = Made(forward, stem=cut(2), **parts)
    model.size = None
    meaning = best(model, 1, 3, 86, 86)
    assert "The table is 37×37, interpolate made 42×42 of it, and 43×43 tokens are given" in (
        meaning.sentence
    )
    assert "scale_factor" in meaning.sentence
    model.size = meaning.numbers["token_rows"], meaning.numbers["token_columns"]
    assert f"size={model.size}" in meaning.fixes[0]
    assert run(model, 1, 3, 86, 86).failure is None


def test_a_table_interpolated_to_another_size_is_no_matter_of_a_factor() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        grid = F.interpolate(m.table, size=(5, 5))
        return tokens(m.stem(x)) + tokens(grid)

    model = Made(forward, stem=cut(), table=torch.zeros(1, WIDTH, 4, 4))
    meaning = best(model, 1, 3, 64, 64)
    assert "interpolate made 5×5 of it, and 8×8 tokens are given" in meaning.sentence
    assert "factor" not in meaning.sentence
    assert "size=(8, 8)" in meaning.fixes[0]


def test_a_spectrogram_has_the_grid_of_its_map() -> None:
    """100 of 4 pixels a side are 5·25 places; the table may be 5·40 + 2."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        t = tokens(m.stem(x.unsqueeze(1)))
        return torch.cat([m.cls, t], 1) + m.pos_embed

    parts = {"cls": torch.zeros(1, 2, 8), "pos_embed": torch.zeros(1, 5 * 40 + 2, 8)}
    model = Made(forward, stem=nn.Conv2d(1, 8, 4, 4), **parts)
    found = run(model, 1, 20, 100).explanations
    assert all("127 = 5×25 + 2 tokens for" in meaning.sentence for meaning in found)
    assert any("202 = 5×40 + 2" in meaning.sentence for meaning in found)
    for meaning in found:
        made = meaning.numbers["table_image_height"], meaning.numbers["table_image_width"]
        if meaning.numbers["table_prefix_tokens"] == 2:
            assert run(model, 1, *made).failure is None


@pytest.mark.parametrize(
    ("stem", "image", "pair", "says"),
    [
        # 12·16 + 1 = 193 at stride 8; 180 = 12·15 is one of several grids
        (
            "8x8/8:64",
            (96, 128),
            (193, 181),
            "193 = 12×16 + 1 tokens for a position table of 181 = 12×15 + 1: at stride 8"
            " the image is 96×128 pixels, and the table was made for 96×120, or for another grid"
            " of 180",
        ),
        ("14x14/14:384", (224, 224), (257, 197), "at stride 14 the image is 224×224 pixels"),
        ("16x16/16:768", (224, 224), (577, 197), "at stride 16 the image is 384×384 pixels"),
    ],
)
def test_readings_of_the_stem_that_was_given_leave_no_others(
    stem: str, image: tuple[int, int], pair: tuple[int, int], says: str
) -> None:
    spec = parse_stem(stem, image_size=image)
    found = explain_error(SUM.format(*pair, 1), spec=spec)
    assert says in found[0].sentence
    assert found[0].likelihood != "certain"
    for each in found:
        strides = each.numbers["total_stride"], each.numbers["table_stride"]
        assert spec.total_stride in strides
        if strides != (spec.total_stride, spec.total_stride):
            assert "another stem" in each.sentence
            assert "another stem" in each.because


@settings(deadline=None, derandomize=True, max_examples=120, database=None)
@given(
    name=st.sampled_from(("vit_c_4gf", "vit_p_18gf", "dinov2_s14", "blog_2021")),
    rows=st.integers(3, 40),
    columns=st.integers(3, 40),
    made=st.integers(3, 40),
)
def test_every_image_a_stem_is_to_be_given_gives_the_table_s_length(
    name: str, rows: int, columns: int, made: int
) -> None:
    """So do both ends of the range of sides that is named."""
    stem = PRESETS[name].stem
    step, prefix = stem.total_stride, stem.num_prefix_tokens

    def of(height: int, width: int) -> StemSpec:
        return StemSpec(image_size=(height, width), convs=stem.convs, class_token=stem.class_token)

    spec = of(rows * step, columns * step)
    if spec.seq_len == made**2 + prefix:
        return
    for each in explain_error(SUM.format(spec.seq_len, made**2 + prefix, 1), spec=spec):
        numbers = each.numbers
        if {numbers["total_stride"], numbers["table_stride"]} != {step}:
            continue
        table = of(numbers["table_image_height"], numbers["table_image_width"])
        assert table.seq_len - prefix == numbers["table"] - numbers["table_prefix_tokens"]
        came = of(numbers["image_height"], numbers["image_width"])
        assert came.seq_len - prefix == numbers["tokens"] - numbers["num_prefix_tokens"]
        for low, high, positions in re.findall(
            r"every side from (\d+) to (\d+) gives (\d+)\.", each.fixes[0]
        ):
            assert of(int(low), int(high)).grid_size == (int(positions),) * 2


def test_each_reading_has_the_range_of_its_own_stride() -> None:
    """At stride 14 patchify gives 14 rows for 14·14 = 196 to 15·14 − 1 = 209 pixels."""
    found = explain_error(SUM.format(577, 197, 1), spec=PRESETS["vit_c_4gf"].stem)
    assert "every side from 209 to 224 gives 14." in found[0].fixes[0]
    for each in found:
        stride = each.numbers["table_stride"]
        if "from 209 to 224" in each.fixes[0]:
            assert stride == 16
    # the stem has 14 rows as the table has, and 785 = 28·28 + 1 may be stride 8
    found = explain_error(SUM.format(785, 197, 1), spec=PRESETS["vit_c_4gf"].stem)
    assert any("another stem" in each.sentence for each in found)


def test_no_reading_leaves_the_stride_of_the_stem_that_was_given() -> None:
    """12·16 = 192 and 12·15 = 180 places at stride 8, without the class token."""
    spec = parse_stem("8x8/8:64", image_size=(96, 128))
    found = explain_error(SUM.format(192, 180, 1), spec=spec)
    assert found
    assert {each.numbers["total_stride"] for each in found} == {8}
    assert (found[0].numbers["image_height"], found[0].numbers["image_width"]) == (96, 128)
