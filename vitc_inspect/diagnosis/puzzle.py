"""All the shapes that do not fit, explained together by the few sizes that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import permutations

from vitc_inspect.diagnosis.axes import Clue, Misfit, clues_of

Pair = tuple[int, int]
"""The same count in the checkpoint and in the model."""

_Named = tuple[str, int, int]
"""What is counted, in the checkpoint and in the model."""
_MULTIPLES = range(1, 9)  # a stage is 8 times as wide as the first; a fourth axis takes 4 of them


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One size that differs between the checkpoint and the model."""

    label: str
    """What is counted: "width", "decoder width", "window", "heads", …."""
    pairs: tuple[Pair, ...]
    """The counts, the smallest first; more than one where stages differ in one proportion."""
    names: tuple[str, ...]
    """The weights that this explains, in the order of the message."""
    evidence: int
    """How many names of another kind say so by themselves: pos_embed and cls_token are two."""


def solve(misfits: Sequence[Misfit]) -> tuple[tuple[Fact, ...], tuple[Misfit, ...]]:
    """Explain shapes that do not fit by the sizes that differ.

    Args:
        misfits: Every weight whose shape differs.

    Returns:
        The facts, those that explain most first, and the weights that they do not explain.

    >>> kept, built = (1, 197, 768), (1, 197, 384)
    >>> facts, left = solve([Misfit(name="pos_embed", kept=kept, built=built)])
    >>> [(fact.label, fact.pairs) for fact in facts], left
    ([('width', ((768, 384),))], ())
    """
    clues = [clue for misfit in misfits for clue in clues_of(misfit)]
    settled = list(_settled(clues))
    groups: dict[tuple[str, object], list[Clue]] = {}
    for clue in settled:
        if clue.label:
            groups.setdefault(_group_of(clue), []).append(clue)
    found = _with_gates([_fact(group) for group in groups.values()])
    facts = sorted(found, key=lambda fact: -len(fact.names))
    told = {clue.misfit.name for clue in settled if not clue.label}
    same_rank = {clue.misfit.name for clue in clues}
    left = [m for m in misfits if m.name in told or m.name not in same_rank]
    return tuple(facts), tuple(left)


def _with_gates(facts: Sequence[Fact]) -> list[Fact]:
    """Two hidden widths, one twice the other, are one gated MLP, whose first layer makes both."""
    hidden = [fact for fact in facts if fact.label == "hidden"]
    for one, two in permutations(hidden, 2):
        (kept, built), (half_kept, half_built) = one.pairs[0], two.pairs[0]
        gated = {(2 * half_kept, half_built): "checkpoint", (half_kept, 2 * half_built): "model"}
        if (kept, built) in gated:
            whole = Fact(
                label=f"gate of the {gated[kept, built]}",
                pairs=two.pairs,
                names=one.names + two.names,
                evidence=one.evidence + two.evidence,
            )
            return [whole, *(fact for fact in facts if fact not in (one, two))]
    return list(facts)


def _group_of(clue: Clue) -> tuple[str, object]:
    """Clues of one fact: widths of several stages belong together where they grow alike."""
    if clue.label.endswith("width"):
        return clue.label, Fraction(clue.kept, clue.built) if clue.built else clue.kept
    return clue.label, None if clue.label == "heads" else (clue.kept, clue.built)


def _fact(clues: Sequence[Clue]) -> Fact:
    kinds = {clue.misfit.name.rpartition(".")[2] for clue in clues}
    if kinds & {"weight", "bias"}:  # of layers: the layer's own name tells the kind
        kinds = {".".join(clue.misfit.name.split(".")[-2:]) for clue in clues}
    return Fact(
        label=clues[0].label,
        pairs=tuple(sorted({(clue.kept, clue.built) for clue in clues})),
        names=tuple(dict.fromkeys(clue.misfit.name for clue in clues)),
        evidence=len(kinds),
    )


def _settled(clues: Sequence[Clue]) -> Iterator[Clue]:
    """Each clue under the label that explains it, those of inner sizes by the width they follow."""
    widths = _widths(clues)
    firm = [c for c in clues if c.label.endswith("hidden") and len(c.misfit.kept) == 2]
    hidden = {(c.kept, c.built) for c in firm if not _followed(c, widths)}
    for clue in clues:
        named = _explained(clue, widths, hidden)
        if named:
            label, kept, built = named
            yield replace(clue, label=label, kept=kept, built=built)
        else:
            yield clue


def _widths(clues: Sequence[Clue]) -> list[_Named]:
    """Every width that a weight of two axes or more tells, or a bias where none does."""
    told = [clue for clue in clues if clue.label.endswith("width")]
    firm = {clue.label for clue in told if not _is_weak(clue)}
    return sorted(
        {(c.label, c.kept, c.built) for c in told if c.label not in firm or not _is_weak(c)}
    )


def _is_weak(clue: Clue) -> bool:
    """Whether a weight has one axis: a norm or a bias may stand behind any layer."""
    return len(clue.misfit.kept) == 1


def _explained(clue: Clue, widths: Sequence[_Named], hidden: set[Pair]) -> _Named | None:
    """The size that another size only follows; None for one that stands for itself."""
    pair = clue.kept, clue.built
    if clue.label == "mask width":  # the decoder's in a masked autoencoder, else the encoder's
        return next((w for w in widths if w[1:] == pair and w[0] != clue.label), None)
    if clue.label.endswith(("hidden", "inner", "out")):
        followed = _followed(clue, widths)
        alone = clue.label.endswith("inner") and len(clue.misfit.kept) == 1 and not widths
        # a bias of queries, keys and values says no more than a width
        return followed or ((_width_of(clue), *pair) if alone else None)
    if clue.label and not (clue.label.endswith("width") and _is_weak(clue)):
        return None
    if clue.label and not any(label == clue.label for label, *_ in widths):
        return None
    return _multiple(clue, widths) or (("hidden", *pair) if pair in hidden else None)


def _width_of(clue: Clue) -> str:
    """The width of the tower that a clue stands in."""
    return f"{clue.label.rpartition(' ')[0]} width".strip()


def _followed(clue: Clue, widths: Sequence[_Named]) -> _Named | None:
    """The width that a size grows with: the hidden width of an MLP of the same ratio does."""
    for label, kept, built in widths:
        if clue.kept * built == clue.built * kept and label == _width_of(clue):
            return label, kept, built
    return None


def _multiple(clue: Clue, widths: Sequence[_Named]) -> _Named | None:
    """The width that the axis of a name that is not known holds a few times over."""
    pair = clue.kept, clue.built
    for label, kept, built in widths:
        if any(pair == (kept * times, built * times) for times in _MULTIPLES):
            return label, kept, built
    return None
