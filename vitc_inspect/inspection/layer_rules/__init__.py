"""Rules for the layers of torch, einops and this package: output shape, parameters and MACs.

The numbers come from a layer's attributes and the shapes of its inputs. Nothing runs, so that a
rule and a recording are two independent witnesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from vitc_inspect.inspection.layer_rules import (  # noqa: F401  # each registers its rules
    attention,
    convolutions,
    linear,
    norms_and_activations,
    pooling,
    recurrent,
    reshaping,
    resizing,
)
from vitc_inspect.tracing.rules import Expectation, Shape, layer_rule


def expect(
    layer: nn.Module, shapes: Mapping[str, Shape], *, arguments: int = 1
) -> Expectation | None:
    """Predict the output of a layer for inputs of these shapes, by the rule of its class.

    Args:
        layer: The layer. A subclass that runs a forward of its own is not known: timm's
            Conv2dSame is a convolution that pads in a function and shows a padding of 0.
        shapes: Shape of each tensor that the layer is given, with the batch, by its place
            among the arguments ("0", "1") or its name.
        arguments: How many arguments it is given, those that are no tensors included. A second
            one tells a transposed convolution its output's size.

    Returns:
        The expectation, or None where no rule says anything.

    Raises:
        RuleError: A rule that a user registered raised, or returned what is of no use.
    """
    rule = layer_rule(layer)
    if rule is None:
        return None
    if not rule.is_ours:
        return rule.of_layer(layer, shapes)
    # of a tensor inside another value, as in a nested tensor, no rule of ours speaks
    if not shapes or "." in next(iter(shapes)):
        return None
    if arguments > 1 and isinstance(layer, convolutions.TRANSPOSED):
        return None
    expected = rule.of_layer(layer, shapes)
    if expected is not None and _has_derived_weights(layer):
        return replace(expected, params=None)
    return expected


def _has_derived_weights(layer: nn.Module) -> bool:
    """Whether weights are worked out from others: by torch.nn.utils.parametrizations, or by a hook
    as that of weight_norm, which sets the weight."""
    return hasattr(layer, "parametrizations") or any(
        name.startswith("weight") for name in vars(layer)
    )
