"""Numbers printed in the paper, compared with the exact ones."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.presets import PRESETS

Verdict = Literal["rounds to it", "about", "misprint"]

SOURCE = "Xiao et al. 2021, arXiv:2106.14881v3"
"""The paper."""

_UNITS = MappingProxyType({"M": 10**6, "G": 10**9})
_ABOUT = Decimal("0.02")  # the paper rounds loosely: it prints 17.5 for 17.56


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """One row of a table in the paper, as printed."""

    table: str
    """Table 1: whole models. Table 3: stems alone."""
    row: str
    """Name of the row."""
    preset: str
    """The preset that the row describes."""
    macs: str
    """"flops" in the paper, which are multiply-accumulates, with unit: "4.0 G"."""
    params: str
    """Parameters, with unit: "17.8 M"."""
    activations: str
    """"acts" in the paper, with unit: "11.3 M"."""
    misprint: str = ""
    """What cannot be right as printed, and why; empty if nothing."""

    def exact(self) -> Prediction:
        """The prediction for the stem or model of the row."""
        preset = PRESETS[self.preset]
        return predict(preset.vit if self.table == "Table 1" and preset.vit else preset.stem)

    def numbers(self) -> dict[str, int]:
        """The exact value of each of QUANTITIES."""
        exact = self.exact()
        # Table 3 excludes class token and position table
        params = exact.params if self.table == "Table 1" else exact.stem_params
        return {"macs": exact.macs, "params": params, "activations": exact.activations}

    def verdicts(self) -> dict[str, Verdict]:
        """How the exact value of each of QUANTITIES compares with the printed one."""
        return {name: compare(getattr(self, name), n) for name, n in self.numbers().items()}

    def to_dict(self) -> dict[str, Any]:
        """The row as a dictionary that json can write: printed, exact and verdict by quantity."""
        verdicts = self.verdicts()
        quantities = {
            name: {"printed": getattr(self, name), "exact": number, "verdict": verdicts[name]}
            for name, number in self.numbers().items()
        }
        beside = {"table": self.table, "row": self.row, "preset": self.preset}
        return {**beside, **quantities, "misprint": self.misprint}


QUANTITIES = ("macs", "params", "activations")
"""The quantities that each row prints."""


def compare(printed: str, exact: int) -> Verdict:
    """Compare a printed number with the exact one.

    Args:
        printed: A number with its unit, for example "17.5 G".
        exact: The exact number.

    Returns:
        "rounds to it" when the exact number rounds to the printed digits, "about" when the two
        are within 2 %, else "misprint".

    >>> compare("4.0 G", 3958940928), compare("17.5 G", 17564286720), compare("0.8 M", 75264)
    ('rounds to it', 'about', 'misprint')
    """
    digits, unit = printed.split()
    number, value = Decimal(digits), Decimal(exact) / _UNITS[unit]
    if abs(value - number) <= Decimal(1).scaleb(int(number.as_tuple().exponent)) / 2:
        return "rounds to it"
    return "about" if abs(value - number) <= _ABOUT * value else "misprint"


def printed_row(prediction: Prediction) -> PrintedRow | None:
    """Return the row of the paper for exactly this stem or model, or None."""
    for row in PRINTED:
        preset = PRESETS[row.preset]
        described = preset.vit if row.table == "Table 1" else preset.stem
        if described == (prediction.vit or prediction.spec):
            return row
    return None


def _row(table: str, row: str, preset: str, printed: str, misprint: str = "") -> PrintedRow:
    """A row from its numbers as printed: MACs in G (Table 1) or M (Table 3), the others in M."""
    macs, params, activations = printed.split()
    return PrintedRow(
        table=table,
        row=row,
        preset=preset,
        macs=f"{macs} {'G' if table == 'Table 1' else 'M'}",
        params=f"{params} M",
        activations=f"{activations} M",
        misprint=misprint,
    )


_ACTS_OF_P = "acts are 384·14·14 = 75,264, a tenth of the 0.8 M printed"
_CHANNELS_OF_S1 = (
    "the first convolution is printed with 42 channels, and with them costs 389 M;"
    " with 52 it costs the 422 M printed"
)
PRINTED = (
    _row("Table 1", "ViT_P-1GF", "vit_p_1gf", "1.1 4.8 5.5"),
    _row("Table 1", "ViT_P-4GF", "vit_p_4gf", "3.9 18.5 11.1"),
    _row("Table 1", "ViT_P-18GF", "vit_p_18gf", "17.5 86.7 24.0"),
    _row("Table 1", "ViT_P-36GF", "vit_p_36gf", "35.9 178.4 37.3"),
    _row("Table 1", "ViT_C-1GF", "vit_c_1gf", "1.1 4.6 5.7"),
    _row("Table 1", "ViT_C-4GF", "vit_c_4gf", "4.0 17.8 11.3"),
    _row("Table 1", "ViT_C-18GF", "vit_c_18gf", "17.7 81.6 24.1"),
    _row("Table 1", "ViT_C-36GF", "vit_c_36gf", "35.0 167.8 36.7"),
    _row("Table 3", "P", "vit_p_4gf", "58 0.3 0.8", _ACTS_OF_P),
    _row("Table 3", "C", "vit_c_4gf", "435 1.0 1.2"),
    _row("Table 3", "S1", "table3_s1", "422 0.8 1.3", _CHANNELS_OF_S1),
    _row("Table 3", "S2", "table3_s2", "422 0.7 1.1"),
    _row("Table 3", "S3", "table3_s3", "458 0.7 1.6"),
    _row("Table 3", "S4", "table3_s4", "407 0.6 2.9"),
)
"""Tables 1 and 3 of SOURCE, in the paper's order."""

PRINTED_CORRELATIONS = MappingProxyType({"macs": 0.75, "activations": 0.93})
"""Pearson's r between run time and each quantity, whole models on a GPU: appendix D."""
