"""The Explanation type, the context of an error, and helpers that the decoders share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from types import MappingProxyType
from typing import Any, Literal

from vitc_inspect.common.validation import MAX_CHANNELS
from vitc_inspect.stem.spec import StemSpec

Likelihood = Literal["certain", "likely", "possible"]
""""certain" follows from the numbers in the message; the other two are interpretations."""

FAULT_KINDS = (
    *("activation", "batch", "bias", "class token", "heads", "image", "image size", "linear"),
    *("norm", "patches", "position table", "stride", "token order", "unread pixels", "width"),
)
"""Kinds of faults that are checked in stems and modules; each can be ignored by name."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The cause of an error or a fault, the evidence for it, and how to fix it."""

    kind: str
    """Topic in one or two words: "position table", "stride", "channels", …."""
    sentence: str
    """What happened, with the arithmetic."""
    fixes: tuple[str, ...]
    """Fixes, each a sentence in the imperative; any one of them is enough."""
    likelihood: Likelihood
    """How likely this explanation is."""
    because: str
    """Why it is ranked where it is, without a final full stop."""
    numbers: Mapping[str, int] = field(hash=False)
    """The numbers in the sentence, by name: pixels, tokens, channels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as a dictionary that can be written as JSON."""
        return {**vars(self), "fixes": list(self.fixes), "numbers": dict(self.numbers)}


@dataclass(frozen=True, kw_only=True)
class PastCall:
    """A call that returned before the error."""

    name: str
    """Name of the module, or of the function."""
    kind: str
    """Class of the module, or "function"."""
    before: tuple[int, ...]
    """Shape of the first input tensor; empty if there is none."""
    after: tuple[int, ...]
    """Shape of the first output tensor; empty if there is none."""
    line: str = ""
    """The line of code that called a function."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was recorded about the run that raised; unknown values are empty or None."""

    operation: str = ""
    """Name of the function that raised, for example "add"."""
    operands: tuple[tuple[int, ...], ...] = ()
    """Shapes of its input tensors."""
    inputs: tuple[tuple[int, ...], ...] = ()
    """Shapes of the input tensors of the whole module."""
    module: str = ""
    """Class of the innermost module that was running."""
    given: tuple[tuple[int, ...], ...] = ()
    """Shapes of the input tensors of that module."""
    attributes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    """Its integer attributes by name, for example num_features or the shape of weight."""
    calls: tuple[PastCall, ...] = ()
    """Calls that returned before the error, in order."""

    @property
    def image(self) -> tuple[int, int] | None:
        """Height and width of the image (pixels), if exactly one input is a batch of images.

        If the image is resized or padded before the first convolution, the size there; likewise
        for other inputs that become images, such as spectrograms.
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
        """Whether a convolution of the run returned a feature map with a time axis."""
        return any(_is_conv(call) and len(call.after) == 5 for call in self.calls)

    def volume_of(self, count: int) -> tuple[int, ...]:
        """Frames, rows and columns of the last volume with that many positions.

        Args:
            count: Length of a sequence (tokens).
        """
        for call in reversed(self.calls):
            if _is_conv(call) and len(call.after) == 5 and count - prod(call.after[2:]) in PREFIXES:
                return call.after[2:]
        return ()

    @property
    def batch(self) -> int | None:
        """Batch size, if exactly one input is a batch of images."""
        batches = [shape[0] for shape in self.inputs if len(shape) == 4]
        return batches[0] if len(batches) == 1 else None

    @property
    def maps(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the feature maps that convolutions returned, last one first."""
        return tuple(c.after for c in reversed(self.calls) if _is_conv(c) and len(c.after) == 4)

    def map_of(self, count: int) -> tuple[int, int, int] | None:
        """Rows, columns and prefix tokens of the last feature map with that many positions.

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
"""Usual numbers of prefix tokens: none, class token, distillation token too, registers."""


@dataclass(frozen=True, kw_only=True)
class ErrorContext:
    """The text of an error, and what else is known about it."""

    text: str
    """The text on one line, with single spaces."""
    source: str
    """The line of code that raised, if the text shows it; else empty."""
    spec: StemSpec | None
    """The stem, if it is known."""
    marked: str = ""
    """The part of that line that Python marks with ^, else empty."""
    sign: str = "+"
    """The operator between the two operands, as written in code."""
    operands: tuple[tuple[int, ...], ...] = ()
    """Input shapes of the function that raised, if they are known."""
    parameters: tuple[bool, ...] = ()
    """For each operand, whether it is a parameter of a module; empty if not known."""
    facts: RunFacts = field(default_factory=RunFacts)
    """What was recorded about the run."""


Decoder = Callable[[re.Match[str], ErrorContext], Iterator[Explanation]]
"""Turns the match of an error message into explanations, most likely first."""


class Decoders(list[tuple[re.Pattern[str], Decoder]]):
    """Patterns of error messages, each with the function that explains it."""

    def matching(self, *patterns: str | re.Pattern[str]) -> Callable[[Decoder], Decoder]:
        """Make a decorator that adds a function for the messages of these patterns."""

        def added(decode: Decoder) -> Decoder:
            self.extend((re.compile(pattern), decode) for pattern in patterns)
            return decode

        return added


NUMBER = r"\d{1,6}"
"""Pattern of a side, a length or a number of channels in a message."""
SHAPE = r"\[[\d, ]{1,200}\]"
"""Pattern of a shape in a message."""

RUN_IT = (
    "Run the module itself, which shows every shape before this line:"
    " python -m vitc_inspect --module FILE.py:CLASS --input 1,3,224,224."
)
"""The fix where the message alone is not enough."""


def only_first_likely(readings: Iterable[Explanation]) -> Iterator[Explanation]:
    """Set all explanations of an error but the first to "possible"."""
    for rank, reading in enumerate(readings):
        yield replace(reading, likelihood="possible") if rank else reading


def unknown_cause(
    understood: str, error: ErrorContext, *fixes: str, numbers: Mapping[str, int], because: str = ""
) -> Explanation:
    """Explain an error that was recognised but whose cause is not known.

    Args:
        understood: The content of the message, a sentence without its full stop.
        error: The error; without facts of the run, a fix is to run the module.
        fixes: Fixes that help anyway.
        numbers: The numbers in the message.
        because: Why no cause is given.
    """
    look = "Print the shapes just before this line, and take each number from them."
    return explain(
        "not known",
        f"{understood}. What it comes from is not known.",
        *fixes,
        look if error.facts.inputs else RUN_IT,
        because=because or "no reading of these numbers agrees with all that is known",
        likelihood="possible",
        numbers=numbers,
    )


def empty_tensor(
    what: str, *, because: str, numbers: Mapping[str, int], written: bool = False
) -> Explanation:
    """Explain a tensor with an axis of length 0.

    Args:
        what: The empty tensor, a sentence without its full stop.
        because: The evidence.
        numbers: The numbers in the message.
        written: Whether the 0 is in a shape argument, so that no slice can be the cause.
    """
    division = "an integer division that gives 0, n // m with n smaller than m"
    fixes = (
        "Look for an empty slice, such as x[:, 3:] of an RGB image.",
        f"Or for {division}.",
        "Or for an empty batch or list, and leave it out before the model is called.",
    )
    if written:
        fixes = (
            f"Look for {division}.",
            "Or for an empty batch, len(x) of no image, and leave it out before the model is"
            " called.",
            "",
        )
    sentence = f"{what}. A tensor with an axis of length 0 is empty."
    return explain("empty", sentence, *fixes, because=because, numbers=numbers)


def explain(
    kind: str,
    sentence: str,
    *fixes: str,
    because: str,
    likelihood: Likelihood = "likely",
    numbers: Mapping[str, int] = MappingProxyType({}),
) -> Explanation:
    """Build an explanation; empty fixes are dropped."""
    return Explanation(
        kind=kind,
        sentence=sentence,
        fixes=tuple(fix for fix in fixes if fix),
        likelihood=likelihood,
        because=because,
        numbers=numbers,
    )


certain = partial(explain, likelihood="certain")
"""Builds an explanation that follows from the numbers in the message."""


def prefix_left(
    opening: str,
    count: int,
    *,
    because: str,
    numbers: Mapping[str, int],
    owner: str = "image",
    when: str = " before reshaping",
    likelihood: Likelihood = "likely",
) -> Explanation:
    """Explain a reshape of tokens that still include their prefix tokens.

    Args:
        opening: The numbers, a sentence without its end.
        count: Number of prefix tokens.
        because: The evidence.
        numbers: The numbers in the message.
        owner: What the other tokens are of.
        when: When to leave the prefix tokens out.
        likelihood: How likely it is.
    """
    one = count == 1
    return explain(
        "class token",
        f"{opening} {counted(count)} before the {owner}'s {'is' if one else 'are'} still there.",
        f"Leave {'it' if one else 'them'} out{when}: x[:, {count}:].",
        because=because,
        likelihood=likelihood,
        numbers=numbers,
    )


def parse_sizes(text: str) -> tuple[int, ...]:
    """Parse a shape as PyTorch prints it.

    >>> parse_sizes("[2, -1, 196]")
    (2, -1, 196)
    """
    return tuple(int(number) for number in re.findall(r"-?\d{1,12}", text))


LEAST_WIDTH = 96
"""Smallest usual token width; a smaller number alone is rarely a width."""


def looks_like_width(number: int) -> bool:
    """Whether a number is more likely a channel count than a token count.

    >>> looks_like_width(384), looks_like_width(197), looks_like_width(196)
    (True, False, False)
    """
    return 32 <= number <= 8192 and number % 16 == 0


def heads_fault(width: int, heads: int) -> Explanation:
    """Explain a token width that is not divisible by the number of heads."""
    near = divisors_near(width, heads)
    wider = -(-width // heads) * heads
    return certain(
        "heads",
        f"A token of {width} numbers cannot be shared by {heads} heads:"
        f" {width} = {heads}·{width // heads} + {width % heads}.",
        f"Use {either(near)} heads, which divide {width}.",
        f"Or make the tokens {wider} = {heads}·{wider // heads} numbers wide.",
        because="each head takes an equal share of the token",
        numbers={"embed_dim": width, "num_heads": heads},
    )


def divisors_near(number: int, wanted: int, *, most: int = 2) -> tuple[int, ...]:
    """Return the divisors of `number` nearest to `wanted`, in ascending order.

    >>> divisors_near(384, 5), divisors_near(768, 12)
    ((4, 6), (8, 12))
    """
    divisors = [d for d in range(1, min(number, MAX_CHANNELS) + 1) if number % d == 0]
    nearest = sorted(divisors, key=lambda d: (abs(d - wanted), d))
    return tuple(sorted(nearest[:most]))


def by(sides: Sequence[int]) -> str:
    """Format sizes as a product.

    >>> by((14, 14))
    '14×14'
    """
    return "×".join(map(str, sides))


def counted(count: int, word: str = "token") -> str:
    """Format a count with its noun.

    >>> counted(1), counted(4), counted(2, "entry")
    ('1 token', '4 tokens', '2 entries')
    """
    many = "entries" if word == "entry" else f"{word}s"
    return f"{count} {word if count == 1 else many}"


def listed(words: Iterable[object]) -> str:
    """Format different words or numbers as a list.

    >>> listed([96, 192, 384, 384]), listed(["mask"])
    ('96, 192 and 384', 'mask')
    """
    *first, last = map(str, dict.fromkeys(words))
    return f"{', '.join(first)} and {last}" if first else last


def either(numbers: Iterable[int]) -> str:
    """Format numbers of which one is to be chosen.

    >>> either((4, 6))
    '4 or 6'
    """
    return " or ".join(map(str, numbers))


def sides_by_name(**sides: Sequence[int]) -> dict[str, int]:
    """Name the rows and columns of grids, as an explanation's numbers.

    >>> sides_by_name(token=(14, 16))
    {'token_rows': 14, 'token_columns': 16}
    """
    return {
        f"{name}_{axis}": side
        for name, grid in sides.items()
        for axis, side in zip(("rows", "columns"), grid, strict=True)
    }
