"""Turn pasted PyTorch code, or the printout of a module, into the layers of a stem.

Each Conv2d becomes a layer with the norm and the activation behind it. Layers are taken in the
order in which they stand, to the first one that makes tokens of a feature map. What a stem cannot
have is noted with its line, and reading goes on without it, so that there is a stem to suggest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vitc_inspect.common.errors import shown
from vitc_inspect.common.validation import MAX_CHANNELS, nearest
from vitc_inspect.stem.pasted_text import Layer, TextFault, Unread, read_layers
from vitc_inspect.stem.spec import Activation, Norm, conv_names

_CONV_ARGUMENTS = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"),
    *("groups", "bias", "padding_mode", "device", "dtype"),
)
_BLOCK_ARGUMENTS = (  # of torchvision's Conv2dNormActivation
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups"),
    *("norm_layer", "activation_layer", "dilation", "inplace", "bias"),
)
_DEFAULTS: Mapping[str, int] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_INSTEAD: Mapping[str, int] = {"out_channels": 48, "kernel_size": 3, **_DEFAULTS}
_NORMS: Mapping[str, Norm] = {
    "BatchNorm2d": "batch",
    "SyncBatchNorm": "batch",
    "LayerNorm": "layer",
    "LayerNorm2d": "layer",
    "ChannelNorm": "layer",
}
_ACTIVATIONS: Mapping[str, Activation] = {
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Hardswish": "hardswish",
}
_BLOCKS = ("Conv2dNormActivation", "ConvNormActivation")
_UNFELT = (  # they change neither a shape nor, in evaluation, a value
    *("Identity", "Dropout", "Dropout2d", "DropPath", "StochasticDepth", "Permute", "Parameter"),
)
_TOKENS = (  # what stands behind a stem
    *("Flatten", "ClassToken", "PositionTable", "MultiheadAttention"),
    *("TransformerEncoder", "TransformerEncoderLayer"),
)
_MOST_DIGITS = 9  # as in the notation
_PARTS = (
    "a stem has Conv2d, BatchNorm2d or LayerNorm, and ReLU, GELU, SiLU or Hardswish, "
    "until Flatten or Rearrange"
)


@dataclass(kw_only=True)
class Pasted:
    """What was read from a pasted text."""

    fields: list[dict[str, Any]] = field(default_factory=list)
    """The arguments of `conv_layer` for each convolution."""
    in_channels: int | None = None
    """Input channels of the first convolution; None where it does not say a number."""
    fault: str = ""
    """The first thing that a stem cannot have, with its line; `fields` are without it."""


def read_code(text: str) -> Pasted:
    """Read the convolutions of a stem from code or a printout.

    Args:
        text: At most `pasted_text.MAX_LENGTH` characters.

    Returns:
        What was read, with the first fault.

    >>> read_code("nn.Conv2d(3, 48, 3, stride=2, padding='valid', bias=False), nn.ReLU()").fields
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'out_channels': 48, 'kernel_size': 3, 'stride': 2, 'padding': 0, 'dilation': 1, 'groups': 1,
      'bias': False, 'activation': 'relu'}]
    """
    reader = _Reader()
    try:
        layers = read_layers(text)
    except TextFault as fault:
        reader.fail(fault.line, fault.reason)
        layers = list(fault.before)
    reader.read(layers)
    return reader.pasted


class _Reader:
    """Turns layers into convolutions with norm and activation."""

    def __init__(self) -> None:
        self.pasted = Pasted()
        self.name = ""  # of the last convolution, in our words
        self.line = 1  # of the layer that is read

    def fail(self, line: int, reason: str) -> None:
        """Note a fault; the first is told."""
        self.pasted.fault = self.pasted.fault or f"line {line}: {reason}"

    def note(self, reason: str) -> None:
        self.fail(self.line, reason)

    def read(self, layers: list[Layer]) -> None:
        leaves = list(_stem_layers(layers))
        names = iter(conv_names(sum(leaf.name == "Conv2d" for leaf in leaves)))
        for leaf in leaves:
            self.line = leaf.line
            if leaf.name == "Conv2d":
                self.name = next(names)
                self.conv(leaf)
            elif leaf.name in _NORMS:
                self.norm(leaf)
            elif leaf.name in _ACTIVATIONS:
                self.activation(leaf)
            elif leaf.name not in _UNFELT and not _moves_axes(leaf):
                self.note(f"{leaf.name} cannot be read, {_PARTS}")
                if self.pasted.fields:  # what follows follows another shape
                    break
        if not self.pasted.fields:
            self.fail(1, "there is no convolution such as nn.Conv2d(3, 48, 3)")

    def conv(self, layer: Layer) -> None:
        given = self.bound(layer, _CONV_ARGUMENTS)
        for name in ("in_channels", "out_channels", "kernel_size"):
            if name not in given:
                self.note(f"{name} of {self.name} is missing")
        fields = {"out_channels": 0, "kernel_size": 0, **_DEFAULTS}
        for name in fields:
            if name in given and name != "padding":
                fields[name] = self.number(name, given[name])
            elif name not in _DEFAULTS:
                fields[name] = _INSTEAD[name]
        fields["padding"] = self.padding(given.get("padding", 0), fields)
        self.check_inputs(given)
        bias = given.get("bias", True)
        if not isinstance(bias, bool):
            self.note(f"bias of {self.name} is {_seen(bias)}, neither True nor False")
        mode = given.get("padding_mode", "zeros")
        if _word(mode) != "zeros":
            self.note(f"padding_mode of {self.name} is {_seen(mode)}, and a stem pads with zeros")
        self.pasted.fields.append({**fields, "bias": bias is not False})

    def bound(self, layer: Layer, names: tuple[str, ...]) -> dict[str, Any]:
        """The arguments of a layer by name."""
        if len(layer.args) > len(names):
            self.note(f"{layer.name} has {len(layer.args)} arguments, the most is {len(names)}")
        given = dict(zip(names, layer.args, strict=False))
        for name, value in layer.kwargs.items():
            if name not in names:
                near = nearest(name[:40], names)
                meant = f", perhaps {near} is meant" if near else ""
                self.note(f"{layer.name} has no argument {shown(name, bare=True)[:40]}{meant}")
            elif name in given:
                self.note(f"{name} of {layer.name} is given twice")
            else:
                given[name] = value
        return given

    def number(self, name: str, value: Any) -> int:
        """A whole number, also where it is written once for each axis."""
        of = f"{name} of {self.name or 'the norm'} is {_seen(value)}"
        if isinstance(value, tuple | list) and name not in ("in_channels", "out_channels"):
            if len(value) not in (1, 2) or any(each != value[0] for each in value):
                self.note(f"{of}, not the same for height and width")
            value = value[0] if value else None
        if isinstance(value, bool) or not isinstance(value, int):
            self.note(f"{of}, not a whole number")
            return _INSTEAD.get(name, 0)
        if abs(value) >= 10**_MOST_DIGITS:
            self.note(f"{of}, a number of more than {_MOST_DIGITS} digits")
            return _INSTEAD.get(name, 0)
        return value

    def padding(self, value: Any, fields: dict[str, int]) -> int:
        """The padding as a number of pixels, also where it is a word."""
        word = _word(value)
        if word not in ("same", "valid"):
            return self.number("padding", value)
        if word == "valid":
            return 0
        taps, stride = fields["kernel_size"], fields["stride"]
        both = fields["dilation"] * (taps - 1)
        if stride != 1:
            reason = f"padding='same' of {self.name} goes with stride 1 alone, not with {stride}"
            self.note(reason)
        elif both % 2:
            reason = (
                f"padding='same' of {self.name} with kernel_size {taps} pads {both} pixels in all"
            )
            self.note(f"{reason}, one more on one side than on the other")
        return max(0, both // 2)

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Compare the input channels that are said with those that there are."""
        if "in_channels" not in given:
            return
        said = given["in_channels"]
        if isinstance(said, Unread) or not isinstance(said, int) or isinstance(said, bool):
            self.note(f"in_channels of {self.name} is {_seen(said)}, not a number")
        elif self.pasted.fields:
            there = self.pasted.fields[-1]["out_channels"]
            if said != there:
                reason = f"{self.name} takes {shown(said)} channels, the convolution before gives"
                self.note(f"{reason} {there}")
        elif 1 <= said <= MAX_CHANNELS:
            self.pasted.in_channels = said
        else:
            bounds = f"it can be from 1 to {MAX_CHANNELS:,}"
            self.note(f"in_channels of {self.name} is {shown(said)}, {bounds}")

    def norm(self, layer: Layer) -> None:
        last = self.last(layer, "norm")
        if last is None:
            return
        if "activation" in last:
            self.note(f"{layer.name} stands after the activation of {self.name}, not before it")
        size = layer.kwargs.get("num_features", layer.kwargs.get("normalized_shape"))
        size = layer.args[0] if layer.args else size
        size = size[0] if isinstance(size, tuple | list) and len(size) == 1 else size
        if size is not None and size != last["out_channels"]:
            channels = f"{self.name} has {last['out_channels']} channels"
            self.note(f"{layer.name} normalises {_seen(size)}, and {channels}")
        for name in ("affine", "elementwise_affine", "bias"):
            if layer.kwargs.get(name, True) is not True:
                self.note(f"{name} of {layer.name} is not True, and a norm of a stem has weights")
        last["norm"] = _NORMS[layer.name]

    def activation(self, layer: Layer) -> None:
        last = self.last(layer, "activation")
        if last is None:
            return
        form = layer.kwargs.get("approximate", "none")
        if layer.name == "GELU" and _word(form) != "none":
            self.note(f"GELU of {self.name} is approximated by {_seen(form)}, a stem's is exact")
        last["activation"] = _ACTIVATIONS[layer.name]

    def last(self, layer: Layer, kind: str) -> dict[str, Any] | None:
        """The convolution that a norm or an activation belongs to, if it can have it."""
        if not self.pasted.fields:
            self.note(f"{layer.name} stands before the first convolution")
            return None
        if kind in self.pasted.fields[-1]:
            self.note(f"{layer.name} is a second {kind} of {self.name}")
            return None
        return self.pasted.fields[-1]


def _stem_layers(layers: list[Layer]) -> Iterator[Layer]:
    """The layers up to those that make tokens, without the modules that contain them."""
    begun = False  # whether there was a convolution
    waiting = list(reversed(layers))
    while waiting:
        layer = waiting.pop()
        if layer.inner is not None:
            if begun and not _may_be_of_stem(layer):  # such as the encoder
                return
            waiting += reversed(layer.inner)
        elif begun and (layer.name in _TOKENS or _makes_tokens(layer)):
            return
        elif layer.name in _BLOCKS:
            begun = True
            yield from _block_layers(layer)
        else:
            begun = begun or layer.name == "Conv2d"
            yield layer


def _may_be_of_stem(layer: Layer) -> bool:
    """Whether a module has a convolution, or nothing but what stands around one."""
    leaves = list(_leaves(layer))
    around = (*_NORMS, *_ACTIVATIONS, *_UNFELT)
    convs = any("Conv" in leaf.name for leaf in leaves)
    return convs or all(leaf.name in around for leaf in leaves)


def _leaves(layer: Layer) -> Iterator[Layer]:
    if layer.inner is None:
        yield layer
        return
    for inner in layer.inner:
        yield from _leaves(inner)


def _block_layers(layer: Layer) -> Iterator[Layer]:
    """The layers of torchvision's Conv2dNormActivation, with its defaults."""
    given = {**dict(zip(_BLOCK_ARGUMENTS, layer.args, strict=False)), **layer.kwargs}
    norm = _class_of(given.pop("norm_layer", "BatchNorm2d"))
    activation = _class_of(given.pop("activation_layer", "ReLU"))
    given.pop("inplace", None)
    taps, dilation = given.setdefault("kernel_size", 3), given.get("dilation", 1)
    if given.get("padding") is None and isinstance(taps, int) and isinstance(dilation, int):
        given["padding"] = (taps - 1) // 2 * dilation
    if given.get("bias") is None:
        given["bias"] = not norm
    yield replace(layer, name="Conv2d", args=(), kwargs=given)
    for name in filter(None, (norm, activation)):
        yield replace(layer, name=name, args=(), kwargs={})


def _class_of(value: Any) -> str:
    """The name of a class that is an argument; empty for None."""
    name = value.source if isinstance(value, Unread) else value
    return "" if name is None else str(name).rpartition(".")[2]


def _moves_axes(layer: Layer) -> bool:
    """Whether a layer of einops moves axes without joining any."""
    return layer.name == "Rearrange" and not _makes_tokens(layer)


def _makes_tokens(layer: Layer) -> bool:
    """Whether a layer of einops joins or drops axes."""
    pattern = layer.args[0] if layer.args else ""
    joins = not isinstance(pattern, str) or "(" in pattern
    return layer.name == "Reduce" or (layer.name == "Rearrange" and joins)


def _word(value: Any) -> Any:
    """A word, which a printout has without quotes."""
    return value.source if isinstance(value, Unread) else value


def _seen(value: Any) -> str:
    """A value as it is written."""
    return f"“{value.source}”" if isinstance(value, Unread) else shown(value)[:60]
