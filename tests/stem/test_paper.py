"""The paper's printed tables: which numbers round to ours, which are about, which are misprints."""

from __future__ import annotations

import pytest

from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.paper import PRINTED, compare, printed_row
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import patchify_stem


def test_every_printed_number_but_one_is_ours_within_its_rounding_or_about() -> None:
    misprinted = [
        (row.row, quantity)
        for row in PRINTED
        for quantity, verdict in row.verdicts().items()
        if verdict == "misprint"
    ]
    assert misprinted == [("P", "activations")]


def test_the_two_misprints_show_by_arithmetic() -> None:
    """FACTS, section 1: 42 channels would cost 389 M; patchify's activations are 75,264."""
    with_42 = parse_stem(
        "3x3/2:42 bn relu, 3x3/2:104 bn relu, 3x3/2:208 bn relu, 2x2/2:416 bn relu, 1x1:384"
    )
    assert round(predict(with_42).macs / 1e6) == 389
    assert round(predict(PRESETS["table3_s1"].stem).macs / 1e6) == 422
    assert predict(patchify_stem(16, 384)).activations == 384 * 14 * 14
    named = {row.row for row in PRINTED if row.misprint}
    assert named == {"P", "S1"}


def test_both_tables_are_whole() -> None:
    """Eight models in Table 1, six stems in Table 3."""
    assert [row.table for row in PRINTED].count("Table 1") == 8
    assert [row.row for row in PRINTED[8:]] == ["P", "C", "S1", "S2", "S3", "S4"]


@pytest.mark.parametrize(
    ("printed", "exact", "verdict"),
    [
        ("4.0 G", 3_958_940_928, "rounds to it"),
        ("4.0 G", 3_949_000_000, "about"),
        ("17.5 G", 17_563_828_224, "about"),
        ("17.5 G", 18_000_000_000, "misprint"),
        ("58 M", 57_500_000, "rounds to it"),
        ("0.8 M", 75_264, "misprint"),
    ],
)
def test_how_a_number_stands_to_what_is_printed(printed: str, exact: int, verdict: str) -> None:
    assert compare(printed, exact) == verdict


def test_a_row_is_found_by_what_it_describes_and_by_nothing_else() -> None:
    vit = PRESETS["vit_c_4gf"].vit
    assert vit
    model = printed_row(predict(vit))
    stem = printed_row(predict(vit.stem))
    assert model
    assert stem
    assert (model.table, model.row) == ("Table 1", "ViT_C-4GF")
    assert (stem.table, stem.row) == ("Table 3", "C")
    assert printed_row(predict(patchify_stem(16, 384, image_size=256))) is None
