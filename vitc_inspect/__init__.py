"""Predict, run, confirm and see the stem of a Vision Transformer.

Everything named here is imported when it is first used, so that `import vitc_inspect`
and `predict` need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitc_inspect.checkpoints import (
        Checkpoint,
        WeightMatch,
        load_weights,
        match_weights,
        put_weights,
        save_weights,
    )
    from vitc_inspect.diagnosis import Contract, Explanation, explain_error, faults, faults_of
    from vitc_inspect.errors import SpecError
    from vitc_inspect.formulas import explain_layer, explain_totals
    from vitc_inspect.inspection import ModuleReport, inspect_call, inspect_module
    from vitc_inspect.model import build_stem, build_vit
    from vitc_inspect.notation import format_stem, parse_stem
    from vitc_inspect.prediction import LayerPrediction, Prediction, predict
    from vitc_inspect.presets import PRESETS, Preset
    from vitc_inspect.reading import stem_of
    from vitc_inspect.report import Report, inspect_stem, inspect_vit
    from vitc_inspect.spec import ConvLayer, StemSpec, conv_layer, conv_stem, patchify_stem
    from vitc_inspect.views.modules import module_csv, module_html, module_markdown, module_table
    from vitc_inspect.vit import ViTSpec
    from vitc_inspect.witnesses import Witness, count_work

_HOMES = {
    "Checkpoint": "checkpoints",
    "Contract": "diagnosis",
    "ConvLayer": "spec",
    "Explanation": "diagnosis",
    "LayerPrediction": "prediction",
    "ModuleReport": "inspection",
    "PRESETS": "presets",
    "Prediction": "prediction",
    "Preset": "presets",
    "Report": "report",
    "SpecError": "errors",
    "StemSpec": "spec",
    "ViTSpec": "vit",
    "WeightMatch": "checkpoints",
    "Witness": "witnesses",
    "build_stem": "model",
    "build_vit": "model",
    "count_work": "witnesses",
    "conv_layer": "spec",
    "conv_stem": "spec",
    "explain_error": "diagnosis",
    "explain_layer": "formulas",
    "explain_totals": "formulas",
    "faults": "diagnosis",
    "faults_of": "diagnosis",
    "format_stem": "notation",
    "inspect_call": "inspection",
    "inspect_module": "inspection",
    "inspect_stem": "report",
    "inspect_vit": "report",
    "load_weights": "checkpoints",
    "match_weights": "checkpoints",
    "module_csv": "views.modules",
    "module_html": "views.modules",
    "module_markdown": "views.modules",
    "module_table": "views.modules",
    "parse_stem": "notation",
    "patchify_stem": "spec",
    "predict": "prediction",
    "put_weights": "checkpoints",
    "save_weights": "checkpoints",
    "stem_of": "reading",
}

__all__ = [
    "PRESETS",
    "Checkpoint",
    "Contract",
    "ConvLayer",
    "Explanation",
    "LayerPrediction",
    "ModuleReport",
    "Prediction",
    "Preset",
    "Report",
    "SpecError",
    "StemSpec",
    "ViTSpec",
    "WeightMatch",
    "Witness",
    "build_stem",
    "build_vit",
    "conv_layer",
    "conv_stem",
    "count_work",
    "explain_error",
    "explain_layer",
    "explain_totals",
    "faults",
    "faults_of",
    "format_stem",
    "inspect_call",
    "inspect_module",
    "inspect_stem",
    "inspect_vit",
    "load_weights",
    "match_weights",
    "module_csv",
    "module_html",
    "module_markdown",
    "module_table",
    "parse_stem",
    "patchify_stem",
    "predict",
    "put_weights",
    "save_weights",
    "stem_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
