"""Errors of adding tokens of videos, volumes, texts and several images in a row."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from vitc_inspect.diagnosis.explanation import Explanation, Told, by, explain
from vitc_inspect.diagnosis.grids import cube_of, frames_of, in_squares, square_of

_TEXT_LENGTHS = frozenset({77, 512, 514, 1026, 2048, 4096})
"""Entries of the position tables of text models in use; none is a square grid of patches."""


def of_time(
    first: int, second: int, told: Told, readings: tuple[Explanation, ...]
) -> tuple[tuple[Explanation, ...], tuple[Explanation, ...]]:
    """Readings as frames of a video or as words, to stand before the others and behind them."""
    of_stem = told.spec is not None and told.spec.seq_len in (first, second)
    if told.facts.image:  # one image, neither a video nor a text
        return (), ()
    words = None if of_stem else _volumes(first, second) or _words(first, second)
    words = words or (None if of_stem else _images_in_a_row(first, second))
    if words:
        return (words,), ()
    frames = _frames(first, second, told)
    if frames is None:
        of_run = _volume_of_run(first, second, told)
        return ((of_run,) if of_run else ()), ()
    if not (square_of(first) and square_of(second)) or not readings:
        return (replace(frames, likelihood="likely"),), ()
    return (), (frames,)


def _words(first: int, second: int) -> Explanation | None:
    """Lengths of texts, of which no grid is to be made."""
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
    """Whether a length is a square grid, with a class token or without one."""
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
        because="both are cubes, and one of them is no square",
        numbers={"side": came, "expected_side": made},
    )


def _images_in_a_row(first: int, second: int) -> Explanation | None:
    """Several images whose sequences, class tokens included, stand one after another."""
    one, many = sorted((first, second))
    square = square_of(one)
    if square is None or square[0] < 4 or not square[1] or many % one or square_of(many):
        return None
    return explain(
        "images",
        f"{many} = {many // one}·{one} and {in_squares(one)}: the tokens of {many // one} images,"
        " or crops of one, stand one after another in a sequence, where those of one are expected.",
        f"Put the images along the batch before the table is added: x.reshape(-1, {one}, width).",
        because=f"{many} is {many // one} times {one}, and {one} is a grid with its class token",
        numbers={"images": many // one, "each": one},
    )


def _frames(first: int, second: int, told: Told) -> Explanation | None:
    """Two videos of different numbers of frames, or a video and a table for one image."""
    for came in frames_of(first):
        for made in frames_of(second):
            if came[1:] != made[1:] or came[0] == made[0]:
                continue
            (frames, side, prefix), expected = came, made[0]
            end = f" + {prefix}" if prefix else ""
            return explain(
                "frames",
                f"{first} = {frames}·{side}×{side}{end} and"
                f" {second} = {expected}·{side}×{side}{end}: {frames} {_times(frames)}, or"
                f" tubelets, of {side}×{side} tokens against {expected}.",
                f"Give a video of {_as_many(frames, expected, told)}.",
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


def _volume_of_run(first: int, second: int, told: Told) -> Explanation | None:
    """Tokens of a volume or a video whose sides the run shows, beside a table for others."""
    for count, table in ((first, second), (second, first)):
        sides = told.facts.volume_of(count)
        if sides and not told.facts.volume_of(table):
            return explain(
                "volume",
                f"{by(sides)} places came, {count} tokens, and the position table has {table}: it"
                " was made for a volume or a video of another size.",
                "Give one of the size that the model was built for, or build the model for this"
                " size.",
                f"Or interpolate the table to {by(sides)} entries, in three dimensions.",
                because=f"the run shows the map, {by(sides)}",
                numbers={"tokens": count, "table": table},
            )
    return None


def _as_many(came: int, expected: int, told: Told) -> str:
    """How many frames a video must have; a tubelet may take several."""
    calls = (c for c in told.facts.calls if len(c.before) == len(c.after) == 5)
    given = next((c.before[2] for c in calls if c.after[2] == came), None)
    if given and given * expected % came == 0:
        return f"{given * expected // came} frames instead of {given}"
    return f"{Fraction(expected, came)} times as many frames"


def _times(frames: int) -> str:
    return "frame" if frames == 1 else "frames"
