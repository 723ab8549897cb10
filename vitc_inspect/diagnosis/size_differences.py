"""Reduce all shape mismatches of a state dict to the few sizes that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import permutations

from vitc_inspect.diagnosis.axes import Clue, Mismatch, clues_of
from vitc_inspect.diagnosis.explanation import Explanation, Likelihood, explain

Pair = tuple[int, int]
"""A size in the checkpoint and in the model."""

_Named = tuple[str, int, int]
"""A label with its size in the checkpoint and in the model."""
_MULTIPLES = range(1, 9)  # the last of four stages has 8 times the first width


@dataclass(frozen=True, kw_only=True)
class SizeDifference:
    """One size that differs between the checkpoint and the model."""

    label: str
    """What the size counts: "width", "decoder width", "window", "heads", …."""
    pairs: tuple[Pair, ...]
    """The two sizes, smallest first; several if stages differ by the same ratio."""
    names: tuple[str, ...]
    """The weights that it explains, in the order of the message."""
    evidence: int
    """Number of distinct kinds of names that imply it: pos_embed and cls_token are two."""

    @property
    def likelihood(self) -> Likelihood:
        """Certain if names of two kinds agree, likely if there is only one kind."""
        return "certain" if self.evidence > 1 else "likely"

    @property
    def because(self) -> str:
        """The evidence, for an explanation."""
        first, *others = self.names
        more = f" and {len(others)} more say so" if others else " say so"
        return f"the name and the shape of {first}{more}"

    def explained(
        self,
        kind: str,
        sentence: str,
        *fixes: str,
        numbers: Mapping[str, int],
        likelihood: Likelihood = "likely",
    ) -> Explanation:
        """Explain the difference, with the names of the weights as the evidence."""
        return explain(
            kind, sentence, *fixes, because=self.because, likelihood=likelihood, numbers=numbers
        )

    @property
    def affected(self) -> str:
        """The number of weights that it explains, as a clause."""
        count = len(self.names)
        return "1 weight is affected" if count == 1 else f"{count} weights are affected"


def find_differences(
    mismatches: Sequence[Mismatch],
) -> tuple[tuple[SizeDifference, ...], tuple[Mismatch, ...]]:
    """Explain mismatched shapes by the sizes that differ.

    Args:
        mismatches: Every weight whose shape differs.

    Returns:
        The differences, those of most weights first, and the weights without an explanation.

    >>> saved, built = (1, 197, 768), (1, 197, 384)
    >>> diffs, left = find_differences([Mismatch(name="pos_embed", saved=saved, built=built)])
    >>> [(diff.label, diff.pairs) for diff in diffs], left
    ([('width', ((768, 384),))], ())
    """
    clues = [clue for mismatch in mismatches for clue in clues_of(mismatch)]
    settled = list(_settled(clues))
    groups: dict[tuple[str, object], list[Clue]] = {}
    for clue in settled:
        if clue.label:
            groups.setdefault(_group_of(clue), []).append(clue)
    found = _with_gates([_size_difference(group) for group in groups.values()])
    diffs = sorted(found, key=lambda diff: -len(diff.names))
    unexplained = {clue.mismatch.name for clue in settled if not clue.label}
    same_rank = {clue.mismatch.name for clue in clues}
    left = [m for m in mismatches if m.name in unexplained or m.name not in same_rank]
    return tuple(diffs), tuple(left)


def _with_gates(diffs: Sequence[SizeDifference]) -> list[SizeDifference]:
    """Merge two hidden widths, one twice the other, into one gated MLP."""
    hidden = [diff for diff in diffs if diff.label == "hidden"]
    for one, two in permutations(hidden, 2):
        (saved, built), (half_kept, half_built) = one.pairs[0], two.pairs[0]
        gated = {(2 * half_kept, half_built): "checkpoint", (half_kept, 2 * half_built): "model"}
        if (saved, built) in gated:
            whole = SizeDifference(
                label=f"gate of the {gated[saved, built]}",
                pairs=two.pairs,
                names=one.names + two.names,
                evidence=one.evidence + two.evidence,
            )
            return [whole, *(diff for diff in diffs if diff not in (one, two))]
    return list(diffs)


def _group_of(clue: Clue) -> tuple[str, object]:
    """Key under which clues are one difference: widths of stages with one ratio share a key."""
    if clue.label.endswith("width"):
        return clue.label, Fraction(clue.saved, clue.built) if clue.built else clue.saved
    return clue.label, None if clue.label == "heads" else (clue.saved, clue.built)


def _size_difference(clues: Sequence[Clue]) -> SizeDifference:
    kinds = {clue.mismatch.name.rpartition(".")[2] for clue in clues}
    if kinds & {"weight", "bias"}:  # for layers, the name of the layer is the kind
        kinds = {".".join(clue.mismatch.name.split(".")[-2:]) for clue in clues}
    return SizeDifference(
        label=clues[0].label,
        pairs=tuple(sorted({(clue.saved, clue.built) for clue in clues})),
        names=tuple(dict.fromkeys(clue.mismatch.name for clue in clues)),
        evidence=len(kinds),
    )


def _settled(clues: Sequence[Clue]) -> Iterator[Clue]:
    """Relabel each clue by the size that explains it."""
    widths = _widths(clues)
    firm = [c for c in clues if c.label.endswith("hidden") and len(c.mismatch.saved) == 2]
    hidden = {(c.saved, c.built) for c in firm if not _followed(c, widths)}
    for clue in clues:
        named = _explained(clue, widths, hidden)
        if named:
            label, saved, built = named
            yield replace(clue, label=label, saved=saved, built=built)
        else:
            yield clue


def _widths(clues: Sequence[Clue]) -> list[_Named]:
    """Every width that a weight with two or more axes implies, else those that a bias implies."""
    unexplained = [clue for clue in clues if clue.label.endswith("width")]
    firm = {clue.label for clue in unexplained if not _is_weak(clue)}
    return sorted(
        {(c.label, c.saved, c.built) for c in unexplained if c.label not in firm or not _is_weak(c)}
    )


def _is_weak(clue: Clue) -> bool:
    """Whether a weight has one axis: a norm or a bias can follow any layer."""
    return len(clue.mismatch.saved) == 1


def _explained(clue: Clue, widths: Sequence[_Named], hidden: set[Pair]) -> _Named | None:
    """The size that explains a clue; None if the clue stands for itself."""
    pair = clue.saved, clue.built
    if clue.label == "mask width":  # that of the decoder in MAE, else of the encoder
        return next((w for w in widths if w[1:] == pair and w[0] != clue.label), None)
    if clue.label.endswith(("hidden", "inner", "out")):
        followed = _followed(clue, widths)
        alone = clue.label.endswith("inner") and len(clue.mismatch.saved) == 1 and not widths
        # a bias of queries, keys and values implies a width only
        return followed or ((_width_of(clue), *pair) if alone else None)
    if clue.label and not (clue.label.endswith("width") and _is_weak(clue)):
        return None
    if clue.label and not any(label == clue.label for label, *_ in widths):
        return None
    return _multiple(clue, widths) or (("hidden", *pair) if pair in hidden else None)


def _width_of(clue: Clue) -> str:
    """The width label of the tower that a clue belongs to."""
    return f"{clue.label.rpartition(' ')[0]} width".strip()


def _followed(clue: Clue, widths: Sequence[_Named]) -> _Named | None:
    """The width that a size is proportional to, as the hidden width of an MLP is."""
    for label, saved, built in widths:
        if clue.saved * built == clue.built * saved and label == _width_of(clue):
            return label, saved, built
    return None


def _multiple(clue: Clue, widths: Sequence[_Named]) -> _Named | None:
    """The width of which an unlabelled size is a small multiple."""
    pair = clue.saved, clue.built
    for label, saved, built in widths:
        if any(pair == (saved * times, built * times) for times in _MULTIPLES):
            return label, saved, built
    return None
