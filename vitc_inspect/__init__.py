"""Predict, run, confirm and see the stem of a Vision Transformer.

Everything named here is imported when it is first used, so that `import vitc_inspect`
and `predict` need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitc_inspect.common.extras import require

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vitc_inspect.audit.stem_finder import stem_of
    from vitc_inspect.common.errors import SpecError
    from vitc_inspect.diagnosis import Contract, Explanation, explain_error, faults, faults_of
    from vitc_inspect.inspection.module_inspection import inspect_call, inspect_module
    from vitc_inspect.inspection.module_report import ModuleReport
    from vitc_inspect.inspection.stem_inspection import inspect_stem, inspect_vit
    from vitc_inspect.inspection.stem_report import Report
    from vitc_inspect.model.checkpoints import (
        Checkpoint,
        load_weights,
        save_weights,
    )
    from vitc_inspect.model.modules import build_stem, build_vit
    from vitc_inspect.model.weight_matching import WeightMatch, match_weights, put_weights
    from vitc_inspect.probes.other_counters import Witness, count_work
    from vitc_inspect.stem.derivations import explain_layer, explain_totals
    from vitc_inspect.stem.notation import format_stem, parse_stem
    from vitc_inspect.stem.prediction import LayerPrediction, Prediction, predict
    from vitc_inspect.stem.presets import PRESETS, Preset
    from vitc_inspect.stem.spec import ConvLayer, StemSpec, conv_layer, conv_stem, patchify_stem
    from vitc_inspect.stem.vit import ViTSpec
    from vitc_inspect.tracing.rules import (
        Expectation,
        FunctionCall,
        register_rule,
        temporary_rules,
    )
    from vitc_inspect.ui.show import show
    from vitc_inspect.views.report_table import (
        module_csv,
        module_html,
        module_markdown,
        module_table,
    )

_HOMES = {
    "Checkpoint": "model.checkpoints",
    "Contract": "diagnosis",
    "ConvLayer": "stem.spec",
    "Expectation": "tracing.rules",
    "Explanation": "diagnosis",
    "FunctionCall": "tracing.rules",
    "LayerPrediction": "stem.prediction",
    "ModuleReport": "inspection.module_report",
    "PRESETS": "stem.presets",
    "Prediction": "stem.prediction",
    "Preset": "stem.presets",
    "Report": "inspection.stem_report",
    "SpecError": "common.errors",
    "StemSpec": "stem.spec",
    "ViTSpec": "stem.vit",
    "WeightMatch": "model.weight_matching",
    "Witness": "probes.other_counters",
    "build_stem": "model.modules",
    "build_vit": "model.modules",
    "count_work": "probes.other_counters",
    "conv_layer": "stem.spec",
    "conv_stem": "stem.spec",
    "explain_error": "diagnosis",
    "explain_layer": "stem.derivations",
    "explain_totals": "stem.derivations",
    "faults": "diagnosis",
    "faults_of": "diagnosis",
    "format_stem": "stem.notation",
    "inspect_call": "inspection.module_inspection",
    "inspect_module": "inspection.module_inspection",
    "inspect_stem": "inspection.stem_inspection",
    "inspect_vit": "inspection.stem_inspection",
    "load_weights": "model.checkpoints",
    "match_weights": "model.weight_matching",
    "module_csv": "views.report_table",
    "module_html": "views.report_table",
    "module_markdown": "views.report_table",
    "module_table": "views.report_table",
    "parse_stem": "stem.notation",
    "patchify_stem": "stem.spec",
    "predict": "stem.prediction",
    "put_weights": "model.weight_matching",
    "register_rule": "tracing.rules",
    "save_weights": "model.checkpoints",
    "show": "ui.show",
    "stem_of": "audit.stem_finder",
    "temporary_rules": "tracing.rules",
}

__all__ = [
    "PRESETS",
    "Checkpoint",
    "Contract",
    "ConvLayer",
    "Expectation",
    "Explanation",
    "FunctionCall",
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
    "register_rule",
    "save_weights",
    "show",
    "stem_of",
    "temporary_rules",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError:
        require("app" if _HOMES[name].startswith("ui.") else "torch", by=name)
        raise
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
