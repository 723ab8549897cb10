"""What the paper prints about its models and stems, and how our exact numbers stand to it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.presets import PRESETS

Verdict = Literal["rounds to it", "about", "misprint"]

SOURCE = "Xiao et al. 2021, arXiv:2106.14881v3"
"""Where it is printed."""

_UNITS = MappingProxyType({"M": 10**6, "G": 10**9})
_ABOUT = Decimal("0.02")  # the paper's rounding is loose: 17.56 is printed 17.5


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """One row of one of the paper's tables, as printed."""

    table: str
    """Table 1: whole models. Table 3: stems alone."""
    row: str
    """Name of the row."""
    preset: str
    """Name of the preset that the row describes."""
    macs: str
    """The paper's "flops", which are multiply-accumulates, with their unit: "4.0 G"."""
    params: str
    """Learned numbers, with their unit: "17.8 M"."""
    activations: str
    """The paper's "acts", with their unit: "11.3 M"."""
    misprint: str = ""
    """What cannot be as printed, shown by arithmetic; empty where all can."""

    def exact(self) -> Prediction:
        """Our own prediction of what the row describes."""
        preset = PRESETS[self.preset]
        return predict(preset.vit if self.table == "Table 1" and preset.vit else preset.stem)

    def numbers(self) -> dict[str, int]:
        """The exact number of each of QUANTITIES."""
        exact = self.exact()
        # Table 3 leaves out class token and positions
        params = exact.params if self.table == "Table 1" else exact.stem_params
        return {"macs": exact.macs, "params": params, "activations": exact.activations}

    def verdicts(self) -> dict[str, Verdict]:
        """How the exact number of each of QUANTITIES stands to the printed one."""
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
"""What each row prints."""


def compare(printed: str, exact: int) -> Verdict:
    """Say how a printed number stands to the exact one.

    Args:
        printed: A number with its unit, for example "17.5 G".
        exact: The number itself.

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
    """The row of the paper that describes exactly this stem or model, if there is one."""
    for row in PRINTED:
        preset = PRESETS[row.preset]
        described = preset.vit if row.table == "Table 1" else preset.stem
        if described == (prediction.vit or prediction.spec):
            return row
    return None


def _model(row: str, macs: str, params: str, activations: str) -> PrintedRow:
    return PrintedRow(
        table="Table 1",
        row=row,
        preset=row.lower().replace("-", "_"),
        macs=f"{macs} G",
        params=f"{params} M",
        activations=f"{activations} M",
    )


def _stem(
    row: str,
    macs: str,
    params: str,
    activations: str,
    *,
    preset: str = "",
    misprint: str = "",
) -> PrintedRow:
    return PrintedRow(
        table="Table 3",
        row=row,
        preset=preset or f"table3_{row.lower()}",
        macs=f"{macs} M",
        params=f"{params} M",
        activations=f"{activations} M",
        misprint=misprint,
    )


PRINTED = (
    _model("ViT_P-1GF", "1.1", "4.8", "5.5"),
    _model("ViT_P-4GF", "3.9", "18.5", "11.1"),
    _model("ViT_P-18GF", "17.5", "86.7", "24.0"),
    _model("ViT_P-36GF", "35.9", "178.4", "37.3"),
    _model("ViT_C-1GF", "1.1", "4.6", "5.7"),
    _model("ViT_C-4GF", "4.0", "17.8", "11.3"),
    _model("ViT_C-18GF", "17.7", "81.6", "24.1"),
    _model("ViT_C-36GF", "35.0", "167.8", "36.7"),
    _stem(
        "P",
        "58",
        "0.3",
        "0.8",
        preset="vit_p_4gf",
        misprint="acts are 384·14·14 = 75,264, a tenth of the 0.8 M printed",
    ),
    _stem("C", "435", "1.0", "1.2", preset="vit_c_4gf"),
    _stem(
        "S1",
        "422",
        "0.8",
        "1.3",
        misprint="the first convolution is printed with 42 channels, and with them costs 389 M;"
        " with 52 it costs the 422 M printed",
    ),
    _stem("S2", "422", "0.7", "1.1"),
    _stem("S3", "458", "0.7", "1.6"),
    _stem("S4", "407", "0.6", "2.9"),
)
"""Tables 1 and 3 of SOURCE, in the paper's order."""

PRINTED_CORRELATIONS = MappingProxyType({"macs": 0.75, "activations": 0.93})
"""Pearson's r of run time with each quantity, over whole models on a GPU: appendix D."""
