"""Parse and format the one-line stem notation: `3x3/2:48 bn relu, 1x1:384`.

A layer is its kernel, `/stride`, `p` padding, `:` channels, then in any order its norm
(`bn`, `ln`), its activation (`relu`, `gelu`, `silu`, `hardswish`), `gN` groups, `dN`
dilation and `bias` or `nobias`. Options that are omitted have the defaults of `conv_layer`.
PyTorch code, or the printout of a module, is read in its place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import (
    A_STEM,
    MAX_CHANNELS,
    as_pair,
    check_int,
    check_type,
    nearest,
)
from vitc_inspect.stem.pasted_code import Pasted, read_code
from vitc_inspect.stem.pasted_text import MAX_LENGTH as _MOST_CODE
from vitc_inspect.stem.pasted_text import is_code
from vitc_inspect.stem.spec import (
    Activation,
    ConvLayer,
    Norm,
    StemSpec,
    conv_layer,
    conv_names,
    default_padding,
)

NORM_WORDS: dict[str, Norm] = {"bn": "batch", "ln": "layer"}
ACTIVATION_WORDS: dict[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "hardswish": "hardswish",
}
_BIAS_WORDS = {"bias": True, "nobias": False}
_NUMBERED_WORDS = {"g": "groups", "d": "dilation"}
_SYNONYMS = {"batchnorm": "bn", "layernorm": "ln", "swish": "silu", "hswish": "hardswish"}
_WORDS = (*NORM_WORDS, *ACTIVATION_WORDS, *_BIAS_WORDS)
_AFTER_LAYER = f"{', '.join(_WORDS)}, g or d with a number, or a comma"
_PATCHIFY = "16x16/16:768"
_MAX_LENGTH = 4_000  # longest notation (characters)
_SMALLEST = "1x1:384"  # valid for any image


def parse_stem(
    text: str,
    *,
    image_size: int | tuple[int, int] = 224,
    in_channels: int | None = None,
    class_token: bool = True,
    position_table: bool = True,
) -> StemSpec:
    """Parse a stem from its notation, from PyTorch code, or from the printout of a module.

    Code is read as text and never executed: its Conv2d with the norms and activations behind
    them, in the order in which they stand.

    Args:
        text: The layers, separated by commas; or code such as "nn.Conv2d(3, 48, 3)".
        image_size: Height and width (pixels); one number means a square.
        in_channels: Channels of the image; None means those of the code's first convolution,
            and 3 for a notation.
        class_token: Whether there is a learned class token.
        position_table: Whether a learned position embedding is added.

    Returns:
        The stem.

    Raises:
        SpecError: field "stem" with the column if the syntax is invalid, or with the line of
            code that cannot be read, field "in_channels" if the code says other channels, else
            the invalid field, for example "conv2.kernel_size".

    >>> parse_stem("16x16/16:768") == parse_stem("16x16/16p0:768 bias")
    True
    >>> format_stem(parse_stem("nn.Conv2d(3, 48, 3, 2, 1), nn.GELU(), nn.Conv2d(48, 384, 1)"))
    '3x3/2:48 gelu, 1x1:384'
    """
    beside: dict[str, Any] = {
        "image_size": as_pair(image_size),
        "in_channels": 3 if in_channels is None else in_channels,
        "class_token": class_token,
        "position_table": position_table,
    }
    try:
        read = _read(text)
        convs = _convs(read.fields)
    except SpecError as error:
        if error.field == "stem" and not _is_valid_for(error.suggestion, beside):
            error.fix, error.suggestion = f"Use {_SMALLEST}", _SMALLEST
        raise
    if read.in_channels is not None and in_channels is None:
        beside["in_channels"] = read.in_channels
    elif read.in_channels is not None:
        chosen = check_int("in_channels", in_channels, 1, MAX_CHANNELS)
        if chosen != read.in_channels:
            reason = f"the first convolution of the code takes {read.in_channels}"
            use = read.in_channels
            raise SpecError("in_channels", chosen, reason, f"Use {use}", use)
    return StemSpec(convs=convs, **beside)


def _is_valid_for(text: str, beside: dict[str, Any]) -> bool:
    """Whether a valid notation can be built for the given image."""
    try:
        StemSpec(convs=_convs(_reader(text).layers()), **beside)
    except SpecError:
        return False
    return True


def format_stem(stem: StemSpec) -> str:
    """Format the convolutions of a stem; `parse_stem` with the same image reads it back.

    >>> format_stem(parse_stem("3 x 3 /2 : 48 relu bn ,1x1/1:384"))
    '3x3/2:48 bn relu, 1x1:384'
    """
    check_type("stem", stem, StemSpec, A_STEM)
    return format_convs(stem.convs)


def parse_convs(text: str) -> tuple[ConvLayer, ...]:
    """Parse the convolutions of a stem from its notation, or from code as `parse_stem` does.

    Args:
        text: The layers, separated by commas.

    Returns:
        The convolutions in order.

    Raises:
        SpecError: As `parse_stem`.
    """
    return _convs(_read(text).fields)


def parse_fields(text: str) -> tuple[dict[str, Any], ...]:
    """Parse the arguments of `conv_layer` for each layer, without building the layers.

    Raises:
        SpecError: field "stem", if the syntax is invalid.

    >>> parse_fields("3x3/0:48")
    ({'kernel_size': 3, 'stride': 0, 'out_channels': 48},)
    """
    return tuple(_read(text).fields)


def code_channels(text: str) -> int | None:
    """The input channels of the first convolution of code; None for a notation.

    Raises:
        SpecError: As `parse_fields`.
    """
    return _read(text).in_channels


def _read(text: str) -> Pasted:
    """Read the arguments of each layer, from a notation or from code.

    Raises:
        SpecError: field "stem"; for code with the line and what can be read of it.
    """
    if not isinstance(text, str) or not is_code(text):
        return Pasted(fields=_reader(text).layers())
    if len(text) > _MOST_CODE:
        reason = f"it has {len(text):,} characters, the most of code is {_MOST_CODE:,}"
        raise SpecError("stem", text, reason, f"Use {_PATCHIFY}", _PATCHIFY)
    read = read_code(text)
    if read.fault:
        use = _PATCHIFY
        with suppress(SpecError):
            mended = format_convs(_convs(read.fields))
            use = mended if len(mended) <= _MAX_LENGTH and _readable(mended) else use
        raise SpecError("stem", text, read.fault, f"Use {use}", use)
    return read


def _reader(text: str) -> _Reader:
    """Create a parser for a text, after checking its type and length."""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise SpecError("stem", kind, "it is not a text", f"Use {_PATCHIFY}", _PATCHIFY)
    if len(text) > _MAX_LENGTH:
        reason = f"it has {len(text):,} characters, the most is {_MAX_LENGTH:,}"
        raise SpecError("stem", text, reason, f"Use {_PATCHIFY}", _PATCHIFY, column=_MAX_LENGTH + 1)
    return _Reader(text)


def _convs(layers: list[dict[str, Any]]) -> tuple[ConvLayer, ...]:
    convs = []
    for name, fields in zip(conv_names(len(layers)), layers, strict=True):
        try:
            convs.append(conv_layer(**fields))
        except SpecError as error:
            raise error.within(name) from None
    return tuple(convs)


def format_convs(convs: Iterable[ConvLayer]) -> str:
    """Format convolutions, omitting default values.

    >>> format_convs([conv_layer(48, 3, 2, padding=0, groups=3, bias=True, norm="batch")])
    '3x3/2p0:48 bn g3 bias'
    """
    return ", ".join(_format_conv(conv) for conv in convs)


def _format_conv(conv: ConvLayer) -> str:
    size = f"{conv.kernel_size}x{conv.kernel_size}"
    stride = f"/{conv.stride}" if conv.stride != 1 else ""
    default = default_padding(conv.kernel_size, conv.stride)
    padding = f"p{conv.padding}" if conv.padding != default else ""
    words = [f"{size}{stride}{padding}:{conv.out_channels}"]
    words += [word for word, norm in NORM_WORDS.items() if norm == conv.norm]
    words += [word for word, act in ACTIVATION_WORDS.items() if act == conv.activation]
    words += [f"g{conv.groups}"] if conv.groups != 1 else []
    words += [f"d{conv.dilation}"] if conv.dilation != 1 else []
    if conv.bias != (conv.norm == "none"):
        words.append("bias" if conv.bias else "nobias")
    return " ".join(words)


class _Token(NamedTuple):
    kind: str  # "number", "word", "mark" or "end"
    text: str
    start: int  # zero-based offset into the notation


_TOKEN = re.compile(r"(?P<number>\d+)|(?P<word>[A-Za-z]+)|(?P<mark>[/:,×])")


class _Reader:
    """Recursive-descent parser of the notation; its errors give the column."""

    def __init__(self, text: str, *, suggesting: bool = True) -> None:
        self.text = text
        self.suggesting = suggesting  # whether errors search for a valid text
        self.position = 0
        self.complete = 0  # end of the valid part of the text
        self.ends: list[int] = []  # end of each complete layer

    def layers(self) -> list[dict[str, Any]]:
        layers = [self.layer()]
        while self.peek().text == ",":
            self.take()
            layers.append(self.layer())
        if self.peek().kind != "end":
            self.fail(_AFTER_LAYER, meant=_with_commas(self.text))
        return layers

    def layer(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"kernel_size": self.kernel()}
        if self.peek().text == "/":
            self.take()
            fields["stride"] = self.number("the stride, a whole number")
        if self.peek().text.lower() == "p":
            self.take()
            fields["padding"] = self.number("the padding, a whole number")
        stride_next = "" if len(fields) > 1 else "a slash and the stride, or "
        self.expect(":", f"{stride_next}a colon and the channels")
        fields["out_channels"] = self.number("the channels, a whole number")
        self.complete = self.position
        while self.peek().kind == "word":
            self.option(fields)
            self.complete = self.position
        self.ends.append(self.position)
        return fields

    def kernel(self) -> int:
        start = self.peek().start
        height = self.number("the kernel, for example 3x3")
        self.expect("x×", "x and the kernel's width")
        width = self.number("the kernel's width, a whole number")
        if width != height:
            square = f"{height}x{height}"
            self.complain(
                start,
                f"the kernel {height}x{width} is not square",
                square,
                self.replaced(start, square),
            )
        return height

    def option(self, fields: dict[str, Any]) -> None:
        token = self.take()
        word = token.text.lower()
        value: Any
        if word in NORM_WORDS:
            field, value = "norm", NORM_WORDS[word]
        elif word in ACTIVATION_WORDS:
            field, value = "activation", ACTIVATION_WORDS[word]
        elif word in _BIAS_WORDS:
            field, value = "bias", _BIAS_WORDS[word]
        elif word in _NUMBERED_WORDS:
            field = _NUMBERED_WORDS[word]
            value = self.number(f"the {field}, a whole number")
        else:
            self.unknown_word(token)
        if field in fields:
            without = re.sub(r"\s+(?=,|\s|$)", "", self.replaced(token.start, ""))
            self.complain(token.start, f"a second {field} in one layer", without, without)
        fields[field] = value

    def peek(self) -> _Token:
        start = self.position
        while start < len(self.text) and self.text[start].isspace():
            start += 1
        if start == len(self.text):
            return _Token("end", "", start)
        match = _TOKEN.match(self.text, start)
        if match is None:
            return _Token("other", self.text[start], start)
        return _Token(str(match.lastgroup), match.group(), start)

    def take(self) -> _Token:
        token = self.peek()
        self.position = token.start + len(token.text)
        return token

    def number(self, what: str) -> int:
        token = self.peek()
        fraction = re.compile(r"-\s*\d*\.?\d*|\d+\.\d*|\d+e\d+").match(self.text, token.start)
        if fraction:
            self.fail(what, fraction.group())
        if token.kind != "number":
            self.fail(what)
        if len(token.text) > 9:
            self.fail(f"{what} of at most 9 digits", token.text)
        return int(self.take().text)

    def expect(self, marks: str, what: str) -> None:
        text = self.peek().text
        if not text or text.lower() not in marks:
            self.fail(what)
        self.take()

    def unknown_word(self, token: _Token) -> NoReturn:
        word = token.text.lower()
        near = _SYNONYMS.get(word) or nearest(word, _WORDS)
        if near:
            reason = f"“{token.text}” is not a word of the notation"
            self.complain(token.start, reason, near, self.replaced(token.start, near))
        self.position = token.start
        self.fail(_AFTER_LAYER)

    def fail(self, what: str, found: str | None = None, meant: str = "") -> NoReturn:
        """Raise for the next token, with a suggestion."""
        token = self.peek()
        found = token.text if found is None else found
        seen = found if found.isprintable() else ascii(found).strip("'")
        where = f"“{seen}”" if found else "the end of the text"
        if seen.isalpha() and not seen.isascii():  # Cyrillic х looks like x
            where += f", {unicodedata.name(seen, 'another letter').lower()}"
        use = meant or self.text[: self.complete].strip() or _PATCHIFY
        self.complain(token.start, f"expected {what}, found {where}", use, use)

    def complain(self, start: int, reason: str, use: str, corrected: str) -> NoReturn:
        """Raise, with the corrected text as the suggestion if it is valid."""
        column = start + 1
        suggestion = None
        if self.suggesting:
            wholes = [self.text[:end] for end in (self.complete, *reversed(self.ends))]
            texts = (" ".join(text.split()) for text in (corrected, *wholes, _PATCHIFY))
            suggestion = next(text for text in texts if _readable(text))
            same = suggestion == " ".join(corrected.split())
            use = " ".join(use.split()) if same else suggestion
        raise SpecError(
            "stem", self.text, f"column {column}: {reason}", f"Use {use}", suggestion, column
        )

    def replaced(self, start: int, new: str) -> str:
        """The text with everything read since `start` replaced by `new`."""
        return self.text[:start] + new + self.text[self.position :]


def _with_commas(text: str) -> str:
    """The text with commas between layers and spaces between words.

    >>> _with_commas("3x3:48-bn+relu; 1x1:9 -> 1x1:8 1x1:7")
    '3x3:48 bn relu, 1x1:9, 1x1:8, 1x1:7'
    """
    text = re.sub(r"\s*(;|\||->|→)\s*", ", ", text)
    text = re.sub(r"(?<![,\s])\s+(?=\d+\s*[x×])", ", ", text)
    return re.sub(r"[-+_/](?=[A-Za-z])", " ", text)


def _readable(text: str) -> bool:
    """Whether the text is valid notation."""
    try:
        _convs(_Reader(text, suggesting=False).layers())
    except SpecError:
        return False
    return True
