"""Numbers, units and sentences, and a table whose columns stand under one another."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vitc_inspect.inspection.stem_inspection import inspect_stem, inspect_vit
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import conv_stem, patchify_stem
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views import text

SMALL = conv_stem((8, 16), embed_dim=12, image_size=(32, 40))


@pytest.fixture(scope="module")
def report():
    return inspect_stem(SMALL, "ramp", device="cpu", seed=5)


@pytest.mark.parametrize(
    ("sizes", "written"),
    [((48, 112, 112), "48×112×112"), ((197, 384), "197×384"), ([7], "7"), ((), "")],
)
def test_shapes(sizes, written):
    assert text.shape(sizes) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1,000"),
        (999_999, "999,999"),
        (1_000_000, "1.00 M"),
        (1_004_999, "1.00 M"),
        (1_005_001, "1.01 M"),
        (9_994_999, "9.99 M"),
        (9_995_000, "10.0 M"),
        (9_999_999, "10.0 M"),
        (99_949_999, "99.9 M"),
        (99_950_000, "100 M"),
        (999_499_999, "999 M"),
        (999_500_000, "1.00 G"),
        (999_600_000, "1.00 G"),
        (999_999_999, "1.00 G"),
        (10**9, "1.00 G"),
        (17_580_000_000, "17.6 G"),
        (999_499_999_999, "999 G"),
        (999_500_000_000, "1.00 T"),
        (10**12, "1.00 T"),
        (10**14, "100 T"),
    ],
)
def test_counts(number, written):
    assert text.count(number) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (2**10, "1.00 KiB"),
        (10 * 2**10 - 1, "10.0 KiB"),
        (1023 * 2**10, "1023 KiB"),
        (2**20 - 1, "1.00 MiB"),
        (2**20, "1.00 MiB"),
        (2_408_448, "2.30 MiB"),
        (2**30 - 1, "1.00 GiB"),
        (2**30, "1.00 GiB"),
        (5 * 2**29, "2.50 GiB"),
    ],
)
def test_sizes(number, written):
    assert text.size(number) == written


@pytest.mark.parametrize("write", [text.count, text.size])
def test_a_larger_number_is_never_written_smaller(write):
    units = {"": 1, "M": 10**6, "G": 10**9, "T": 10**12}
    units |= {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    numbers = sorted({int(step * 1.07**power) for power in range(300) for step in (1, 1.005)})
    before = 0
    for number in numbers:
        figures, _, unit = write(number).partition(" ")
        value = float(figures.replace(",", "")) * units[unit]
        assert value >= before
        assert value == pytest.approx(number, rel=0.0051)
        assert len(figures) <= 4 or unit == "" or number >= 10**15 or number >= 2**40
        before = value


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (conv_stem(), "197 tokens = 14 × 14 + 1 class token"),
        (replace(conv_stem(), class_token=False), "196 tokens = 14 × 14"),
        (PRESETS["vitpose_b"].stem, "192 tokens = 16 × 12"),
        (parse_stem("4x4/4:96"), "3,137 tokens = 56 × 56 + 1 class token"),
        (patchify_stem(16, 8, image_size=16), "2 tokens = 1 × 1 + 1 class token"),
    ],
)
def test_the_sentence_on_tokens(spec, sentence):
    assert text.tokens_sentence(predict(spec)) == sentence


@pytest.mark.parametrize(
    ("stem", "says"),
    [
        # 48·112·112·27 for conv1; 96·56·56·48·9 = 192·28·28·96·9 = 384·14·14·192·9 for three
        (conv_stem(), "conv2, conv3 and conv4, 130,056,192 each"),
        # 4·4·4·3·4 = 12·4·4·4 = 768, and 3·1·1·12·16 = 576
        (parse_stem("2x2/2:4, 1x1:12, 4x4/4:3", image_size=8), "conv1 and conv2, 768 each"),
        (parse_stem("2x2/2:4, 1x1:11, 4x4/4:8", image_size=8), "proj, 1,408"),  # 8·11·16
        (patchify_stem(16, 8, image_size=16), "proj, 6,144"),  # 8·16·16·3
    ],
)
def test_the_most_work_is_named_and_a_tie_is_said(stem, says):
    assert text.most_work(predict(stem)) == f"Most MACs of the stem: {says}"


@pytest.mark.parametrize(
    ("token", "table", "says"),
    [
        (True, True, "with class token and position table;"),
        (False, True, "with position table;"),
        (True, False, "with class token and no position table;"),
        (False, False, "params in the stem, which has no class token and no position table;"),
    ],
)
def test_the_params_beside_the_stem_are_only_those_there_are(token, table, says):
    stem = patchify_stem(4, 8, image_size=8, class_token=token, position_table=table)
    assert says in str(inspect_stem(stem, "ramp", device="cpu"))
    whole = ViTSpec(stem=stem, depth=1, num_heads=1, mlp_ratio=1)
    printed = str(inspect_vit(whole, "ramp", device="cpu"))
    assert "1 block and classifier" in printed
    assert ("no position table" in printed) == (not table)


def unread(notation, image_size):
    return text.unread(predict(parse_stem(notation, image_size=image_size)).layers[0])


@pytest.mark.parametrize(
    ("notation", "image_size", "sentence"),
    [
        ("16x16/16:8", (32, 48), ""),
        ("16x16/16:8", (33, 32), "proj never reads 1 of 33 rows (32)"),
        ("16x16/16:8", (32, 34), "proj never reads 2 of 34 columns (32, 33)"),
        ("16x16/16:8", (36, 32), "proj never reads 4 of 36 rows (32, 33, 34, 35)"),
        ("16x16/16:8", (37, 32), "proj never reads 5 of 37 rows (32 … 36)"),
        (
            "16x16/16:8",
            (230, 33),
            "proj never reads 6 of 230 rows (224 … 229) and 1 of 33 columns (32)",
        ),
        ("1x1/2:8", (4, 2), "proj never reads 2 of 4 rows (1, 3) and 1 of 2 columns (1)"),
    ],
)
def test_the_sentence_on_what_is_never_read(notation, image_size, sentence):
    assert unread(notation, image_size) == sentence


@pytest.mark.parametrize(
    ("notation", "image_size", "jumps"),
    [("1x1/2:8", (20, 2), "(1 … 19)"), ("2x2/9:8", (18, 9), "(2 … 17)")],
)
def test_gaps_are_not_written_as_one_stretch(notation, image_size, jumps):
    """Rows 1, 3, 5, … 19 are unread: "1 … 19" would be all of them."""
    sentence = unread(notation, image_size)
    assert sentence.startswith("proj never reads ")
    assert jumps not in sentence


def test_nothing_is_unread_by_a_layer_that_is_no_convolution():
    prediction = predict(conv_stem())
    assert [text.unread(layer) for layer in prediction.layers] == [""] * len(prediction.layers)


def test_the_verdict_is_one_of_four(report):
    conv, norm, *others = report.trace.records
    records = (conv._replace(macs=1), norm._replace(name="extra"), *others)
    odd = replace(report, trace=replace(report.trace, records=records))
    verdicts = {row.name: row.verdict for row in odd.rows}
    assert verdicts.pop("conv1") == "differs"
    assert verdicts.pop("norm1") == "never ran"
    assert verdicts.pop("extra") == "not predicted"
    assert set(verdicts.values()) == {"agrees"}


def test_a_quantity_that_could_not_be_observed_is_no_agreement(report):
    conv, *others = report.trace.records
    records = (conv._replace(macs=None), *others)
    odd = replace(report, trace=replace(report.trace, records=records))
    assert odd.rows[0].verdict != "agrees"


HEADER = ("layer", "kind", "input", "predicted", "observed", "params", "MACs", "field")


def table_lines(table):
    """The header and the lines of the layers: what stands between the first two empty lines."""
    block = table.split("\n\n")[1]
    return block.splitlines()


def odd_one(report):
    """A report with a layer that never ran and one that nobody predicted."""
    first, *others = report.trace.records
    records = (first._replace(name="an_extra_layer"), *others)
    return replace(report, trace=replace(report.trace, records=records))


@pytest.mark.parametrize("name", ["vit_c_18gf", "vit_p_36gf", "levit_256", "swin_t", "vitpose_b"])
def test_each_line_of_the_table_has_the_same_columns(name):
    lines = table_lines(str(inspect_stem(PRESETS[name].stem, device="cpu")))
    header = lines[0]
    assert tuple(header.split()) == HEADER
    ends = [re.search(rf"\b{title}\b", header).end() for title in HEADER[1:]]
    for line in lines[1:]:
        cells = re.split(r" {2,}", line)
        assert len(cells) == len(HEADER) + 1  # and the verdict, which has no title
        assert line.startswith(cells[0])
        assert line[header.index("kind") :].startswith(cells[1])
        numbers = (*cells[2:5], *cells[6:])
        for cell, end in zip(numbers, ends[1:], strict=True):
            assert line[:end].endswith(f" {cell}")


def test_a_line_that_lacks_a_side_keeps_its_columns(report):
    lines = table_lines(str(odd_one(report)))
    by_name = {line.split()[0]: line for line in lines}
    header, missing, extra = (by_name[name] for name in ("layer", "conv1", "an_extra_layer"))
    predicted, observed = (header.index(title) + len(title) for title in HEADER[3:5])
    assert missing[:predicted].endswith(" 8×16×20")
    assert missing[predicted:observed].strip() == ""
    assert extra[header.index("input") + 5 : predicted].strip() == ""
    assert extra[:observed].endswith(" 8×16×20")
    agreeing = by_name["conv2"]
    assert missing.index("never ran", observed) == agreeing.index("agrees")
    assert extra.index("not predicted", observed) == agreeing.index("agrees")


def test_the_table_holds_the_numbers(report):
    table = str(report)
    cells = [re.split(r" {2,}", line) for line in table_lines(table)[1:]]
    assert [row[0] for row in cells] == [row.name for row in report.rows]
    assert cells[0] == [
        *("conv1", "Conv2d", "3×32×40", "8×16×20", "8×16×20", "agrees", "216", "69,120", "3")
    ]
    assert cells[6] == [
        *("proj", "Conv2d", "16×8×10", "12×8×10", "12×8×10", "agrees", "204", "15,360", "7")
    ]
    assert cells[7] == [
        *("tokens", "Rearrange", "12×8×10", "80×12", "80×12", "agrees", "0", "0", "7")
    ]
    for words in (
        "image 32×40, 3 channels; cpu",
        "float32, seed 5",
        "81 tokens = 8 × 10 + 1 class token, width 12, stride 4, receptive field 7 px.",
        "1,620 params in the stem, 2,604 with class token and position table",
        "176,640 MACs = 353,280 FLOPs",
        "Every shape, parameter, MAC and byte is as predicted.",
    ):
        assert words in table


def test_one_channel_is_not_several():
    spec = replace(SMALL, in_channels=1)
    table = str(inspect_stem(spec, "ramp", device="cpu"))
    assert "1 channel;" in table


def test_the_table_of_the_papers_stem_says_the_papers_numbers():
    table = str(inspect_stem(PRESETS["vit_c_4gf"].stem, device="cpu"))
    for words in ("197 tokens", "1.02 M params in the stem", "435 M MACs", "receptive field 31 px"):
        assert words in table


def test_disagreements_take_the_place_of_the_good_news(report):
    table = str(odd_one(report))
    assert "as predicted." not in table
    assert table.splitlines()[-8:] == list(odd_one(report).disagreements)
    assert "conv1.shape: predicted, never observed" in table
    assert "an_extra_layer.bytes: observed, not predicted" in table


def test_what_is_never_read_stands_below_the_table():
    table = str(inspect_stem(PRESETS["vitpose_b"].stem, device="cpu"))
    assert "proj never reads 2 of 256 rows (254, 255)" in table
    assert all(line.endswith(".") for line in table.rpartition("\n\n")[2].splitlines())


def test_no_line_ends_in_spaces(report):
    for shown in (report, odd_one(report)):
        assert [line for line in str(shown).splitlines() if line != line.rstrip()] == []
