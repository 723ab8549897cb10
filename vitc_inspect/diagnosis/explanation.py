"""What an explanation is made of, and what explanations share: words, divisors, the text told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from vitc_inspect.fields import MAX_CHANNELS
from vitc_inspect.spec import StemSpec

Likelihood = Literal["certain", "likely", "possible"]
"""How sure an explanation is: "certain" follows from the numbers given alone."""

FAULT_KINDS = (
    *("activation", "bias", "class token", "heads", "image size", "linear", "norm", "patches"),
    *("position table", "stride", "token order", "unread pixels", "width"),
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
class Told:
    """What the person told: the text around an error, and perhaps the stem."""

    text: str
    """The text on one line, with single spaces."""
    source: str
    """The line of code that raised the error, where the text shows it, else empty."""
    spec: StemSpec | None
    """The stem, where it is known."""
    sign: str = "+"
    """The operation between two operands, as code writes it."""
    operands: tuple[tuple[int, ...], ...] = ()
    """Shapes of what the function that raised was given, where they are known."""


Decoder = Callable[[re.Match[str], Told], Iterator[Explanation]]
"""From one error of PyTorch to its explanations, the likeliest first."""


def read_text(text: str, spec: StemSpec | None) -> Told:
    """Take apart what was pasted: a message, or a traceback of Python, IPython or pytest.

    Args:
        text: Anything; only its last MAX_TEXT characters are read.
        spec: The stem, where it is known.

    Returns:
        The text and the line of code it shows last.
    """
    text = text[-MAX_TEXT:].replace("’", "'").replace("‘", "'")
    source = ""
    for line, following in pairwise([*text.splitlines(), ""]):
        marked = _ARROW.match(line)
        if marked:
            source = marked.group(1).strip()
        elif _FRAME.match(line):
            source = following.strip()
    plain = _PYTEST.sub("", text)
    return Told(text=_GAPS.sub(" ", plain).strip(), source=source, spec=spec)


MAX_TEXT = 200_000
"""Most characters of a text that are read, from its end."""
_FRAME = re.compile(r'\s*File ".{1,500}", line \d')
_ARROW = re.compile(r"(?:-+> ?\d+|>) +(\S.{0,500})")
_PYTEST = re.compile(r"^E +", re.MULTILINE)
_GAPS = re.compile(r"[\s│|]+")


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
