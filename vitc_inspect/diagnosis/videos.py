"""Errors of adding tokens of videos, volumes, texts and concatenated images."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from vitc_inspect.diagnosis.explanation import ErrorContext, Explanation, by, counted, explain
from vitc_inspect.diagnosis.grids import cube_of, frames_of, grid_text, square_of

_TEXT_LENGTHS = frozenset({77, 512, 514, 1026, 2048, 4096})
"""Usual lengths of position tables of text; none is a square grid."""


def video_or_text(
    first: int, second: int, error: ErrorContext, readings: tuple[Explanation, ...]
) -> tuple[tuple[Explanation, ...], tuple[Explanation, ...]]:
    """Explanations as video or text, to be put before and after the others."""
    of_stem = error.spec is not None and error.spec.seq_len in (first, second)
    if error.facts.image:  # an image, so neither video nor text
        return (), ()
    words = None if of_stem else _volumes(first, second) or _words(first, second)
    words = words or (None if of_stem else _images_in_a_row(first, second))
    if words:
        return (words,), ()
    frames = _frames(first, second, error)
    if frames is None:
        of_run = _volume_of_run(first, second, error)
        return ((of_run,) if of_run else ()), ()
    if not (square_of(first) and square_of(second)) or not readings:
        return (replace(frames, likelihood="likely"),), ()
    return (), (frames,)


def _words(first: int, second: int) -> Explanation | None:
    """Lengths of texts that are not grids."""
    tables = [n for n in (second, first) if n in _TEXT_LENGTHS]
    if not tables or (77 not in tables and any(_is_grid(n) for n in (first, second))):
        return None
    table = tables[0]
    other = first if table == second else second
    return explain(
        "text length",
        f"{table} is the length of a text model's position table, not of a grid of patches, and"
        f" {other} is the other length: a text of {other} tokens where {table} are expected.",
        f"Cut or pad the text to {table} tokens:"
        f' tokenizer(text, max_length={table}, truncation=True, padding="max_length").',
        because=f"{table} is usual for texts" + (", as CLIP's 77" if table == 77 else ""),
        numbers={"words": other, "expected_words": table},
    )


def _is_grid(count: int) -> bool:
    """Whether a length is a square grid, with or without a class token."""
    square = square_of(count)
    return square is not None and square[1] < 2


def _volumes(first: int, second: int) -> Explanation | None:
    """Two volumes cut into cubes (UNETR, ViViT): 216 = 6×6×6 and 512 = 8×8×8."""
    sides = cube_of(first), cube_of(second)
    if not all(sides) or (_is_grid(first) and _is_grid(second)):
        return None
    came, made = sides
    return explain(
        "volume",
        f"{first} = {by((came,) * 3)} and {second} = {by((made,) * 3)}: patches of a volume, and a"
        " position table for a volume of another size. At patch size 16 that is"
        f" {by((16 * came,) * 3)} and {by((16 * made,) * 3)} voxels.",
        f"Give volumes whose sides are {made}/{came} of these, or build the model for these:"
        " img_size.",
        "Or interpolate the table in three dimensions.",
        because="both are cubes, and one of them is not a square",
        numbers={"side": came, "expected_side": made},
    )


def _images_in_a_row(first: int, second: int) -> Explanation | None:
    """Concatenated sequences of several images, each with its class token."""
    one, many = sorted((first, second))
    square = square_of(one)
    if square is None or square[0] < 4 or not square[1] or many % one or square_of(many):
        return None
    return explain(
        "images",
        f"{many} = {many // one}·{one} and {grid_text(one)}: the tokens of {many // one} images, or"
        " crops of one, are concatenated in one sequence, where those of one image are expected.",
        f"Put the images along the batch before the table is added: x.reshape(-1, {one}, width).",
        because=f"{many} is {many // one} times {one}, and {one} is a grid with its class token",
        numbers={"images": many // one, "each": one},
    )


def _frames(first: int, second: int, error: ErrorContext) -> Explanation | None:
    """Videos with different numbers of frames, or a video and a table for one image."""
    for came in frames_of(first):
        for made in frames_of(second):
            if came[1:] != made[1:] or came[0] == made[0]:
                continue
            (frames, side, prefix), expected = came, made[0]
            end = f" + {prefix}" if prefix else ""
            return explain(
                "frames",
                f"{first} = {frames}·{side}×{side}{end} and"
                f" {second} = {expected}·{side}×{side}{end}: {counted(frames, 'frame')}, or"
                f" tubelets, of {side}×{side} tokens against {expected}.",
                f"Give a video of {_as_many(frames, expected, error)}.",
                "Or interpolate the table along the time alone.",
                because=f"both are whole frames of {side}×{side} tokens",
                likelihood="possible",
                numbers={
                    "frames": frames,
                    "expected_frames": expected,
                    "rows": side,
                    "columns": side,
                    "num_prefix_tokens": prefix,
                },
            )
    return None


def _volume_of_run(first: int, second: int, error: ErrorContext) -> Explanation | None:
    """Tokens of a volume or video in the run, and a table for another size."""
    for count, table in ((first, second), (second, first)):
        sides = error.facts.volume_of(count)
        if sides and not error.facts.volume_of(table):
            return explain(
                "volume",
                f"The map has {by(sides)} positions, {count} tokens, and the position table"
                f" {table}: it was made for a volume or a video of another size.",
                "Give one of the size that the model was built for, or build the model for this"
                " size.",
                f"Or interpolate the table to {by(sides)} entries, in three dimensions.",
                because=f"the run shows the map, {by(sides)}",
                numbers={"tokens": count, "table": table},
            )
    return None


def _as_many(came: int, expected: int, error: ErrorContext) -> str:
    """Number of frames that a video must have; a tubelet can hold several."""
    calls = (c for c in error.facts.calls if len(c.before) == len(c.after) == 5)
    given = next((c.before[2] for c in calls if c.after[2] == came), None)
    if given and given * expected % came == 0:
        return f"{given * expected // came} frames instead of {given}"
    return f"{Fraction(expected, came)} times as many frames"
