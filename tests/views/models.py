"""A small model to draw, and the strip of a module."""

from __future__ import annotations

from torch import nn

from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.model.modules import build_vit
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views.folding import row_keys
from vitc_inspect.views.strip import strip_svg


def small_vit(depth: int) -> nn.Module:
    stem = PRESETS["vit_c_1gf"].stem
    small = StemSpec(image_size=(32, 32), in_channels=3, convs=stem.convs, class_token=True)
    return build_vit(ViTSpec(stem=small, depth=depth, num_heads=2, mlp_ratio=2))


def module_strip_svg(report: ModuleReport, *, selected: str | None) -> str:
    """The strip of a module, as its page draws it."""
    return strip_svg(
        report.rows,
        keys=row_keys(report.rows),
        inputs=[value.shape for value in report.inputs],
        selected=selected,
        failure=report.failure,
        never_called=report.never_called,
        label="The module",
    )
