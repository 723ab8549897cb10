"""What an explanation is made of, and what explanations share: words, divisors, the text told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
from typing import Any, Literal

from vitc_inspect.common.validation import MAX_CHANNELS
from vitc_inspect.stem.spec import StemSpec

Likelihood = Literal["certain", "likely", "possible"]
"""How sure an explanation is: "certain" follows from the numbers given alone."""

FAULT_KINDS = (
    *("activation", "batch", "bias", "class token", "heads", "image", "image size", "linear"),
    *("norm", "patches", "position table", "stride", "token order", "unread pixels", "width"),
)
"""The kinds of faults that are looked for in stems and modules; each may be ignored by its name."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What happened or is wrong, why it is thought so, and what to do."""

    kind: str
    """What it is about, in a word or two: "position table", "stride", "channels", …."""
    sentence: str
    """What happened, with the arithmetic in it."""
    fixes: tuple[str, ...]
    """What to do, each a sentence in the imperative; one of them is enough."""
    likelihood: Likelihood
    """How sure it is."""
    because: str
    """Why it stands where it stands among the others, no final full stop."""
    numbers: Mapping[str, int] = field(hash=False)
    """What the sentence reckons with, by name: pixels, tokens, channels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))

    def to_dict(self) -> dict[str, Any]:
        """The same as an object for JSON."""
        return {**vars(self), "fixes": list(self.fixes), "numbers": dict(self.numbers)}


@dataclass(frozen=True, kw_only=True)
class PastCall:
    """A call that ended before the failure."""

    name: str
    """Name of the module, or of the function."""
    kind: str
    """Class of the module, or "function"."""
    before: tuple[int, ...]
    """Shape of the first tensor that went in, empty without one."""
    after: tuple[int, ...]
    """Shape of the first tensor that came out, empty without one."""
    line: str = ""
    """The line of code that called a function."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of the run that raised. Whatever is not known is empty or None."""

    operation: str = ""
    """Name of the function that raised, for example "add"."""
    operands: tuple[tuple[int, ...], ...] = ()
    """Shapes of the tensors that it was given."""
    inputs: tuple[tuple[int, ...], ...] = ()
    """Shapes of the tensors that the whole module was given."""
    module: str = ""
    """Class of the innermost module that was running."""
    given: tuple[tuple[int, ...], ...] = ()
    """Shapes of the tensors that this module was given."""
    attributes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    """Its plain numbers by name, for example num_features or the shape of its weight."""
    calls: tuple[PastCall, ...] = ()
    """Calls that ended before the failure, in order."""

    @property
    def image(self) -> tuple[int, int] | None:
        """Height and width of the image (pixels), where one input has the axes of an image.

        Of an image that is resized or padded before the first convolution, as it is there; so
        also of what is an image there only, a spectrogram for example.
        """
        images = [shape for shape in self.inputs if len(shape) == 4]
        first = next((c.before for c in self.calls if _is_conv(c) and len(c.before) == 4), None)
        if len(images) == 1:
            image = first if first and first[1] == images[0][1] else images[0]
        elif images or first is None or first[1] not in (1, 3, 4):
            return None
        else:
            image = first
        return image[2], image[3]

    @property
    def of_video(self) -> bool:
        """Whether a convolution of the run gave a map with a time axis."""
        return any(_is_conv(call) and len(call.after) == 5 for call in self.calls)

    def volume_of(self, count: int) -> tuple[int, ...]:
        """Frames, rows and columns of the last volume that a convolution gave so many of.

        Args:
            count: Length of a sequence (tokens).
        """
        for call in reversed(self.calls):
            if _is_conv(call) and len(call.after) == 5 and count - prod(call.after[2:]) in PREFIXES:
                return call.after[2:]
        return ()

    @property
    def batch(self) -> int | None:
        """Images in the batch, where one input has the axes of a batch of images."""
        batches = [shape[0] for shape in self.inputs if len(shape) == 4]
        return batches[0] if len(batches) == 1 else None

    @property
    def maps(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the maps that convolutions gave, the last one first."""
        return tuple(c.after for c in reversed(self.calls) if _is_conv(c) and len(c.after) == 4)

    def map_of(self, count: int) -> tuple[int, int, int] | None:
        """Rows, columns and tokens before them of the last map that a convolution gave so many of.

        Args:
            count: Length of a sequence (tokens).
        """
        for _, _, rows, columns in self.maps:
            if rows * columns > 1 and count - rows * columns in PREFIXES:
                return rows, columns, count - rows * columns
        return None


def _is_conv(call: PastCall) -> bool:
    return "conv" in call.kind.lower() or (call.kind == "function" and "conv" in call.name)


PREFIXES = (0, 1, 2, 4, 5)
"""Tokens before the image's: none, a class token, a distillation token too, registers."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the person told: the text around an error, and perhaps the stem."""

    text: str
    """The text on one line, with single spaces."""
    source: str
    """The line of code that raised the error, where the text shows it, else empty."""
    spec: StemSpec | None
    """The stem, where it is known."""
    marked: str = ""
    """The part of that line which Python marks as what raised, else empty."""
    sign: str = "+"
    """The operation between two operands, as code writes it."""
    operands: tuple[tuple[int, ...], ...] = ()
    """Shapes of what the function that raised was given, where they are known."""
    parameters: tuple[bool, ...] = ()
    """Which of the operands are parameters of a module, where the text says so."""
    facts: RunFacts = field(default_factory=RunFacts)
    """What is known of the run."""


Decoder = Callable[[re.Match[str], Told], Iterator[Explanation]]
"""From one error of PyTorch to its explanations, the likeliest first."""

RUN_IT = (
    "Run the module itself, which shows every shape before this line:"
    " python -m vitc_inspect --module FILE.py:CLASS --input 1,3,224,224."
)
"""What to do where a message alone does not say enough."""


def one_first(readings: Iterable[Explanation]) -> Iterator[Explanation]:
    """Readings of one error, of which one at most is true: those behind the first are possible."""
    for rank, reading in enumerate(readings):
        yield replace(reading, likelihood="possible") if rank else reading


def not_known(
    understood: str, told: Told, *fixes: str, numbers: Mapping[str, int], because: str = ""
) -> Explanation:
    """The explanation of an error that was recognised and whose cause cannot be told.

    Args:
        understood: What the message says, a sentence without its full stop.
        told: What was told; where the run is known there is no need to run it.
        fixes: What helps all the same.
        numbers: The numbers that were understood.
        because: Why no cause is named.
    """
    look = "Print the shapes just before this line, and take each number from them."
    return explain(
        "not known",
        f"{understood}. What it comes from is not known.",
        *fixes,
        look if told.facts.inputs else RUN_IT,
        because=because or "no reading of these numbers agrees with all that is known",
        likelihood="possible",
        numbers=numbers,
    )


def nothing_in_it(
    what: str, *, because: str, numbers: Mapping[str, int], written: bool = False
) -> Explanation:
    """The explanation of a tensor with an axis of length 0.

    Args:
        what: What is empty, a sentence without its full stop.
        because: How it is known.
        numbers: The numbers that were understood.
        written: Whether the 0 was written into a shape, so that no slice made it.
    """
    division = "an integer division that gives 0, n // m with n smaller than m"
    if written:
        return explain(
            "empty",
            f"{what}. An axis of length 0 holds nothing.",
            f"Look for {division}.",
            "Or for an empty batch, len(x) of no image, and leave it out before the model is"
            " called.",
            because=because,
            numbers=numbers,
        )
    return explain(
        "empty",
        f"{what}. An axis of length 0 holds nothing.",
        "Look for a slice that takes nothing, as x[:, 3:] of an RGB image does.",
        f"Or for {division}.",
        "Or for an empty batch or list, and leave it out before the model is called.",
        because=because,
        numbers=numbers,
    )


def explain(
    kind: str,
    sentence: str,
    *fixes: str,
    because: str,
    likelihood: Likelihood = "likely",
    numbers: Mapping[str, int],
) -> Explanation:
    """An explanation, its fixes given one by one; empty ones are left out."""
    return Explanation(
        kind=kind,
        sentence=sentence,
        fixes=tuple(fix for fix in fixes if fix),
        likelihood=likelihood,
        because=because,
        numbers=numbers,
    )


def sizes(text: str) -> tuple[int, ...]:
    """The numbers of a shape as PyTorch prints it.

    >>> sizes("[2, -1, 196]")
    (2, -1, 196)
    """
    return tuple(int(number) for number in re.findall(r"-?\d{1,12}", text))


LEAST_WIDTH = 96
"""The narrowest tokens of models in use; narrower ones are rarely meant by a number alone."""


def looks_like_width(number: int) -> bool:
    """Whether a number is more likely channels than tokens.

    >>> looks_like_width(384), looks_like_width(197), looks_like_width(196)
    (True, False, False)
    """
    return 32 <= number <= 8192 and number % 16 == 0


def heads_fault(width: int, heads: int) -> Explanation:
    """The explanation of a token width that the heads do not divide."""
    near = divisors_near(width, heads)
    wider = -(-width // heads) * heads
    return Explanation(
        kind="heads",
        sentence=f"A token of {width} numbers cannot be shared by {heads} heads:"
        f" {width} = {heads}·{width // heads} + {width % heads}.",
        fixes=(
            f"Use {' or '.join(map(str, near))} heads, which divide {width}.",
            f"Or make the tokens {wider} = {heads}·{wider // heads} numbers wide.",
        ),
        likelihood="certain",
        because="each head takes an equal share of the token",
        numbers={"embed_dim": width, "num_heads": heads},
    )


def divisors_near(number: int, wanted: int, *, most: int = 2) -> tuple[int, ...]:
    """The divisors of `number` nearest to `wanted`, in ascending order.

    >>> divisors_near(384, 5), divisors_near(768, 12)
    ((4, 6), (8, 12))
    """
    divisors = [d for d in range(1, min(number, MAX_CHANNELS) + 1) if number % d == 0]
    nearest = sorted(divisors, key=lambda d: (abs(d - wanted), d))
    return tuple(sorted(nearest[:most]))


def by(sides: Sequence[int]) -> str:
    """Sides as they are read aloud.

    >>> by((14, 14))
    '14×14'
    """
    return "×".join(map(str, sides))


def counted(count: int, word: str = "token") -> str:
    """A count with its word.

    >>> counted(1), counted(4), counted(1, "entry")
    ('1 token', '4 tokens', '1 entry')
    """
    many = {"token": "tokens", "entry": "entries"}[word]
    return f"{count} {word if count == 1 else many}"
