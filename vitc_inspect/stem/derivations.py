"""Formulas of predicted numbers with their values: `floor((224 + 2·1 − 3) / 2) + 1 = 112`.

They use typographic operators (· − ×). With `*` and `-` instead, the left side of each equation is
valid Python, which the tests evaluate.
"""

from __future__ import annotations

from collections.abc import Iterable

from vitc_inspect.common.validation import check_type
from vitc_inspect.stem.prediction import ITEM_BYTES, LayerPrediction, Prediction
from vitc_inspect.stem.spec import Stage
from vitc_inspect.stem.vit import ViTSpec

_A_PREDICTION = "Use what predict gives"


def explain_layer(prediction: Prediction, name: str) -> dict[str, str]:
    """Return the formula of every number predicted for one layer.

    Args:
        prediction: The prediction.
        name: Name of one of its layers.

    Returns:
        Equations by quantity: "height" and "width" of a convolution's map or "tokens" of a
        sequence, "params", "macs", "activations", "bytes", "receptive_field" (pixels),
        "jump" (pixels) and, if rows or columns of the input are not read and the last
        window ends on the image, the last one that is read ("last_row_read",
        "last_column_read"). Unchanged quantities have no equation.

    Raises:
        KeyError: when there is no layer of that name.
    """
    check_type("prediction", prediction, Prediction, _A_PREDICTION)
    check_type("name", name, str, 'Use "proj"')
    layer = prediction.layer(name)
    stages = {stage.name: stage for stage in prediction.spec.stages}
    if layer.kind == "conv":
        lines = _conv(prediction, layer, stages[name])
    elif prediction.vit and layer.block:
        lines = _encoder(prediction.vit, layer)
    elif layer.stage:
        lines = _pointwise(layer)
    else:
        lines = _token(prediction, layer)
    item = ITEM_BYTES[prediction.dtype]
    lines["bytes"] = _equation(_product(*layer.out_shape, item), layer.bytes)
    return lines


def explain_totals(prediction: Prediction) -> dict[str, str]:
    """Return the formulas of the totals: tokens, sequence length, stride, params and MACs.

    Args:
        prediction: The prediction.

    Returns:
        Equations by quantity: "num_patches", "seq_len", "total_stride" (pixels), "params",
        "stem_params", "macs", "activations", "bytes".
    """
    check_type("prediction", prediction, Prediction, _A_PREDICTION)
    stem = [layer for layer in prediction.layers if layer.stage]
    strides = [stage.conv.stride for stage in prediction.spec.stages]
    return {
        "num_patches": _equation(_product(*prediction.grid_size), prediction.num_patches),
        "seq_len": _equation(
            f"{prediction.num_patches} + {prediction.num_prefix_tokens}", prediction.seq_len
        ),
        "total_stride": _equation(_product(*strides), prediction.total_stride),
        "params": _equation(_sum(layer.params for layer in prediction.layers), prediction.params),
        "stem_params": _equation(_sum(layer.params for layer in stem), prediction.stem_params),
        "macs": _equation(_sum(layer.macs for layer in prediction.layers), prediction.macs),
        "activations": _equation(
            _sum(layer.activations for layer in prediction.layers), prediction.activations
        ),
        "bytes": _equation(_sum(layer.bytes for layer in prediction.layers), prediction.bytes),
    }


def _conv(prediction: Prediction, layer: LayerPrediction, stage: Stage) -> dict[str, str]:
    conv = stage.conv
    k, s, p, d = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    step = f"{d}·({k} − 1)" if d > 1 else f"({k} − 1)"
    window = f"{step} − 1" if d > 1 else f"{k}"  # of the window d·(k − 1) + 1
    in_channels, in_height, in_width = layer.in_shape
    channels, height, width = layer.out_shape
    field, jump = _incoming(prediction, layer.name)
    depth = f"{in_channels}/{conv.groups}" if conv.groups > 1 else f"{in_channels}"
    bias = f" + {channels}" if conv.bias else ""
    lines = {
        "height": _equation(f"floor(({in_height} + 2·{p} − {window}) / {s}) + 1", height),
        "width": _equation(f"floor(({in_width} + 2·{p} − {window}) / {s}) + 1", width),
        "params": _equation(f"{channels}·{depth}·{k}·{k}{bias}", layer.params),
        "macs": _equation(f"{channels}·{height}·{width}·{depth}·{k}·{k}", layer.macs),
        "activations": _equation(_product(*layer.out_shape), layer.activations),
        "receptive_field": _equation(f"{field} + {step}·{jump}", layer.receptive_field),
        "jump": _equation(f"{jump}·{s}", layer.jump),
    }
    for out, size, key, unread in (
        (height, in_height, "last_row_read", layer.unread_rows),
        (width, in_width, "last_column_read", layer.unread_columns),
    ):
        last = (out - 1) * s + d * (k - 1) - p  # last position of the last window
        if unread and 0 <= last < size:
            lines[key] = _equation(f"({out} − 1)·{s} + {step} − {p}", last)
    return lines


def _pointwise(layer: LayerPrediction) -> dict[str, str]:
    return {"params": _equation(f"2·{layer.out_shape[0]}", layer.params)} if layer.params else {}


def _token(prediction: Prediction, layer: LayerPrediction) -> dict[str, str]:
    count, width = layer.out_shape
    if layer.kind == "tokens":
        return {"tokens": _equation(_product(*layer.in_shape[1:]), count)}
    if layer.kind == "class_token":
        prefix = prediction.num_prefix_tokens
        return {
            "tokens": _equation(f"{layer.in_shape[0]} + {prefix}", count),
            "params": _equation(f"{prefix}·{width}", layer.params),
        }
    return {"params": _equation(_product(count, width), layer.params)}


def _encoder(vit: ViTSpec, layer: LayerPrediction) -> dict[str, str]:
    """Formulas of a layer of the encoder."""
    *tokens, width = layer.in_shape
    lines: dict[str, str] = {}
    if layer.kind == "linear":
        out = layer.out_shape[-1]
        lines = {
            "params": _equation(f"{width}·{out} + {out}", layer.params),
            "macs": _equation(_product(*tokens, width, out), layer.macs),
            "activations": _equation(_product(*layer.out_shape), layer.activations),
        }
    elif layer.kind == "norm":
        lines = {"params": _equation(f"2·{width}", layer.params)}
    elif layer.kind == "attention":
        n, d = layer.out_shape
        heads, head_dim = vit.num_heads, vit.head_dim
        if vit.attention == "softmax":
            macs, weights = f"2·{n}·{n}·{d}", f"{heads}·{n}·{n}"
        else:
            macs = f"2·{n}·{d}·{head_dim} + {n}·{d}"
            weights = f"{heads}·({head_dim}·{head_dim} + {n})"
        lines = {
            "macs": _equation(macs, layer.macs),
            "activations": _equation(f"{weights} + {n}·{d}", layer.activations),
        }
    return lines


def _incoming(prediction: Prediction, name: str) -> tuple[int, int]:
    """Receptive field and jump of a layer's input."""
    names = [layer.name for layer in prediction.layers]
    index = names.index(name)
    if index == 0:
        return 1, 1
    before = prediction.layers[index - 1]
    return before.receptive_field, before.jump


def _equation(left: str, right: int) -> str:
    return f"{left} = {right}"


def _product(*factors: int) -> str:
    return "·".join(map(str, factors))


def _sum(terms: Iterable[int]) -> str:
    return " + ".join(str(term) for term in terms if term) or "0"
