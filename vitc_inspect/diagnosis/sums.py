"""Errors of two operands that do not fit: tokens and tables, maps, attention scores, videos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import isqrt

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Likelihood,
    Told,
    by,
    explain,
    looks_like_width,
    not_known,
    nothing_in_it,
    one_first,
)
from vitc_inspect.diagnosis.positions import (
    interpolated_otherwise,
    position_readings,
    readings_of_run,
)
from vitc_inspect.diagnosis.readings import (
    USUAL_SIDES,
    cube_of,
    frames_of,
    grid_of,
    in_squares,
    read_lengths,
    sides_for,
    square_of,
)

Roles = tuple[bool, str]
"""Whether the first of two lengths is the sequence's, and how that is known."""
Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes of two operands with as many axes, ones put first."""

_TABLE = re.compile(r"pos|\bpe\b", re.IGNORECASE)
_OPTIMIZER = re.compile(r"exp_avg|momentum_buffer|max_exp_avg|square_avg|denom")
_MASK = re.compile(r"mask", re.IGNORECASE)
_SUM = re.compile(r"([\w.\[\]():, ]{1,200}?) ?\+=? ?([\w.\[(]{1,200})")
_ADD = re.compile(r"\b(?:torch\.add\(([\w.]{1,80}), |([\w.]{1,80})\.add_?\()([\w.]{1,80})")
_TEXT_LENGTHS = frozenset({77, 512, 514, 1026, 2048, 4096})
"""Entries of the position tables of text models in use; none is a square grid of patches."""
_WIDEST_MAP = 128
"""Most columns of a map that a table of positions is made for."""
_LEAST_WIDTH = 96
"""The narrowest tokens of models in use; narrower ones are rarely meant by a number alone."""
_FAR_FETCHED = 12
"""Doubt above which two lengths alone are not read as grids: neither is one of a usual shape."""
_NOMINAL = 16
"""Pixels from token to token where no stem says it."""
_WIDEST_WINDOW = 12
"""Most tokens along a side of a window in use, but for Swin-V2's 16 and 24."""


def _two_operands(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """The size of tensor a must match the size of tensor b."""
    first, second = int(match[1]), int(match[2])
    shapes = _shapes(first, second, told)
    axis = _axis(shapes) if shapes else int(match[3] or 1)  # of the tokens, where it is missing
    ranks = sorted(map(len, told.operands))
    if 0 in (first, second):
        meanings = iter((_empty(first, second, axis),))
    elif _OPTIMIZER.search(told.source):
        meanings = iter((_optimizer(first, second, told),))
    elif shapes and ranks[0] == 1 < ranks[1]:
        meanings = iter((_vector(told),))
    else:
        meanings = _by_axis(first, second, axis, shapes, told)
    for meaning in one_first(meanings):
        yield replace(meaning, sentence=meaning.sentence.replace(" of + ", f" of {told.sign} "))


def _shapes(first: int, second: int, told: Told) -> Shapes | None:
    """The shapes of both operands, where they are known and are those that the message names."""
    operands = told.operands
    if _attends(told) and len(operands) == 4 and min(map(len, operands[:2])) >= 2:
        queries, keys, _, mask = operands
        operands = ((*queries[:-1], keys[-2]), mask)
    if len(operands) != 2 or not all(operands):
        return None
    most = max(map(len, operands))
    left, right = (tuple([1] * (most - len(shape)) + list(shape)) for shape in operands)
    differing = [(a, b) for a, b in zip(left, right, strict=True) if a != b and 1 not in (a, b)]
    return (left, right) if differing[-1:] == [(first, second)] else None


def _attends(told: Told) -> bool:
    """Whether the function that raised is PyTorch's attention, whose mask is its last operand."""
    return "attention" in told.sign


def _axis(shapes: Shapes) -> int:
    """The axis that PyTorch names: the last in which two shapes cannot be laid side by side."""
    pairs = [*zip(*shapes, strict=True)]
    return max(axis for axis, (a, b) in enumerate(pairs) if a != b and 1 not in (a, b))


def _empty(first: int, second: int, axis: int) -> Explanation:
    return nothing_in_it(
        f"One operand of + is 0 long along axis {axis}, and the other {max(first, second)}",
        because="one of the two numbers is 0",
        numbers={"first": first, "second": second, "axis": axis},
    )


def _optimizer(first: int, second: int, told: Told) -> Explanation:
    """What an optimizer keeps of a parameter, beside a gradient of another shape."""
    return explain(
        "optimizer",
        f"What the optimizer keeps of a parameter is {first} long along an axis and its gradient"
        f" {second} (or the other way round): the optimizer's state is that of a model of other"
        " sizes.",
        "Load the weights alone, and leave the optimizer's state_dict out.",
        "Or build the model with the sizes of the checkpoint.",
        because=f"the line “{told.source[:80]}” is an optimizer's",
        numbers={"first": first, "second": second},
    )


def _vector(told: Told) -> Explanation:
    """A vector that meets the last axis of the other operand, and is not as long."""
    vector, other = sorted(told.operands, key=len)
    count = vector[0]
    homes = [axis for axis, size in enumerate(other[:-1]) if axis and size == count]
    fix = f"Make the vector {other[-1]} long, or 1."
    if homes:
        shape = (count, *(1 for _ in other[homes[0] + 1 :]))
        fix = f"For axis {homes[0]}, which is {count} long, give it the shape {shape}."
    return explain(
        "broadcast",
        f"{told.sign} was given {by(other)} and a vector of {count}: a vector lies along the last"
        f" axis, which is {other[-1]} long.",
        fix,
        because="shapes are laid side by side from their last axis",
        likelihood="certain",
        numbers={"vector": count, "last_axis": other[-1]},
    )


def _by_axis(
    first: int, second: int, axis: int, shapes: Shapes | None, told: Told
) -> Iterator[Explanation]:
    """What the axis says of two operands; PyTorch names the last one that differs."""
    rank = len(shapes[0]) if shapes else None
    colours = _colours(first, second, axis, rank)
    if colours:
        yield colours
        return
    # (tokens, width) without a batch has its tokens first
    tokens_at = 1 if rank in (None, 3) else 0 if rank == 2 else None
    if axis == tokens_at:
        yield from _tokens(first, second, axis, told)
    elif axis == 0 and rank != 1:
        yield from _first_axis(first, second, told)
    elif rank in (1, 2, 3):
        yield from _widths(first, second, axis, told)
    elif axis > 4 or (rank or 0) > 5:
        yield not_known(
            f"The two operands of + have {first} and {second} along axis {axis}",
            told,
            numbers={"first": first, "second": second, "axis": axis},
        )
    elif rank == 5 or axis == 4:
        yield from _of_five_axes(first, second, axis, shapes)
    elif axis == 1:
        yield from _second_of_four(first, second, shapes, told)
    elif axis == 2:
        yield from _third_axis(first, second, shapes, told)
    else:
        yield from _fourth_axis(first, second, shapes, told)


def _colours(first: int, second: int, axis: int, rank: int | None) -> Explanation | None:
    """The channels of an image beside a side of it, or beside other channels: a normalisation."""
    few, many = sorted((first, second))
    numbers = {"channels": few, "other": many, "axis": axis}
    if (few, many) == (3, 4) and axis == 0 and rank in (None, 3):
        return explain(
            "channels",
            "One operand of + has 4 channels and the other 3: an image with an alpha channel, and"
            " a mean or a deviation for RGB.",
            "Drop it: image[:3], or Image.convert('RGB').",
            because="the first axis of (channels, height, width) is the channels",
            numbers=numbers,
        )
    if few != 3 or many < 32 or (rank == 3 and axis == 1):
        return None
    if axis >= 2:
        return explain(
            "channels",
            f"One operand of + has {many} along axis {axis} and the other 3: the 3 numbers are one"
            " for each channel, a mean or a deviation, and lie along the image's width.",
            "Give them the shape (3, 1, 1): mean.view(3, 1, 1).",
            "Or, where the image is to be (height, width, channels), keep its channels last.",
            because="shapes are laid side by side from their last axis",
            numbers=numbers,
        )
    return explain(
        "channels last",
        f"One operand of + has {many} along axis {axis} and the other 3: the image is (height,"
        " width, channels), and a mean or a deviation of 3 channels expects the channels first.",
        "Put the channels first: image.permute(2, 0, 1), with a batch image.permute(0, 3, 1, 2).",
        because=f"3 is a number of channels, and {many} a side",
        likelihood="likely" if axis == 0 or rank == 4 else "possible",
        numbers=numbers,
    )


def _first_axis(first: int, second: int, told: Told) -> Iterator[Explanation]:
    """Two batches, or (tokens, width) of a table that is copied into another (CLIP)."""
    grids = [grid_of(count, prefix=1) for count in (first, second)]
    tables = None not in grids and min(first, second) > 32 and not told.operands
    square = any(grid and grid[0] == grid[1] for grid in grids)
    batches = _batches(first, second)
    if not (tables and square):
        yield batches
    if tables:
        yield from _by_roles(first, second, told)
    if tables and square:
        yield replace(batches, likelihood="possible")


def _batches(first: int, second: int) -> Explanation:
    return explain(
        "batch",
        f"Along the first axis one operand of + has {first} and the other {second}: two"
        " batches of different sizes, or tokens without a batch.",
        "Make both batches equal, or give one of them length 1, which fits any.",
        because="the first axis is the batch in (batch, tokens, width)",
        numbers={"first": first, "second": second},
    )


# ---- tokens and position tables --------------------------------------------------------------


def _tokens(first: int, second: int, axis: int, told: Told) -> Iterator[Explanation]:
    """`x + table` of two lengths, the first axis that is no batch."""
    mask = _patch_mask(first, second, told)
    if mask:
        yield mask
        return
    squares = bool(square_of(first)) + bool(square_of(second))
    widths = looks_like_width(first) + looks_like_width(second)
    table = _TABLE.search(told.source) is not None
    far = told.spec is None and not table and not told.operands and _far_fetched(first, second)
    readings = () if told.facts.of_video or far else tuple(_by_roles(first, second, told))
    transposed = tuple(_transposed(first, second, axis))
    of_map = widths == 2 and not told.operands  # (batch, channels, height, width), perhaps
    channels = _channels_of_sum(first, second, axis) if of_map else None
    before, after = _of_time(first, second, told, readings)
    yield from before
    spec = told.spec
    of_stem = spec is not None and spec.seq_len in (first, second)
    if of_stem or squares == 2 or not (transposed or (channels and not table)):
        yield from readings[:1]
        yield from _perhaps_a_mask(first, second, told)
        yield from readings[1:]
        if channels and not of_stem:
            yield channels
    else:
        yield from transposed
        if channels:
            yield replace(channels, likelihood="likely")
        yield from readings
    yield from after
    if not (readings or channels or before or transposed):
        lengths = " and ".join(_as_map(count, told) for count in (first, second))
        yield not_known(
            f"The two operands of + have {lengths} along axis {axis}",
            told,
            "Print both shapes before the sum: the axis must be equal, or 1 in one of them.",
            because="no usual grid and stride gives these two numbers",
            numbers={"first": first, "second": second},
        )


def _far_fetched(first: int, second: int) -> bool:
    """Whether the best grids of two lengths are of such shapes that any numbers have some."""
    best = next(iter(read_lengths(first, second)), None)
    if best is None:
        return False
    both = best.change == "image size and prefix"  # two things at once, of tokens that few have
    return best.doubt > (_FAR_FETCHED - 4 if both else _FAR_FETCHED)


def _patch_mask(first: int, second: int, told: Told) -> Explanation | None:
    """Tokens and a mask that says which patches are hidden, where the line of code names one."""
    line = told.marked or told.source
    if not _MASK.search(line) or _TABLE.search(line):
        return None
    left = re.split(r"[*+]", line.partition("=")[2] or line)[0]
    tokens, mask = (second, first) if _MASK.search(left) else (first, second)
    return explain(
        "mask",
        f"{in_squares(tokens)} tokens came, and the mask was made for {in_squares(mask)}.",
        f"Make the mask for the patches of this image, (batch, {tokens}): rows times columns of"
        " the map that the patch embedding gives, the class token not counted.",
        f"Or give an image of {mask} patches.",
        because=f"the line “{line[:80]}” takes a mask",
        numbers={"tokens": tokens, "mask": mask},
    )


def _perhaps_a_mask(first: int, second: int, told: Told) -> Iterator[Explanation]:
    """Patches and a mask of them, both without a class token; the line of code is not known."""
    squares = square_of(first), square_of(second)
    known = told.source or told.operands or told.spec
    if known or any(square is None or square[1] for square in squares):
        return
    yield explain(
        "mask",
        f"{in_squares(first)} patches came, and a mask of patches (bool_masked_pos) was made for"
        f" {in_squares(second)}.",
        f"Make the mask (batch, {first}).",
        because="it holds where the line that failed takes a mask, which has no class token",
        likelihood="possible",
        numbers={"tokens": first, "mask": second},
    )


def _as_map(count: int, told: Told) -> str:
    """A length, taken apart where the run shows the map it comes from."""
    grid = told.facts.map_of(count)
    if grid is None:
        return f"{count}"
    return f"{count} = {by(grid[:2])}{f' + {grid[2]}' if grid[2] else ''}"


def _of_time(
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


def _transposed(first: int, second: int, axis: int) -> Iterator[Explanation]:
    """A width where tokens are expected, or the other way round."""
    for width, count in ((first, second), (second, first)):
        if looks_like_width(width) and not square_of(width) and square_of(count):
            if looks_like_width(count):
                return
            yield explain(
                "transpose",
                f"One operand of + has {width} along axis {axis}, a width, and the other"
                f" {in_squares(count)}, which are tokens: one of them is (batch, width, tokens).",
                "Transpose it after flattening: x.flatten(2).transpose(1, 2).",
                because=f"{width} is a usual width and no square grid of tokens, {count} is one",
                numbers={"width": width, "tokens": count},
            )


def _channels_of_sum(first: int, second: int, axis: int) -> Explanation:
    return explain(
        "width",
        f"The two operands of + have {first} and {second} channels along axis {axis}: they come"
        " from parts of different width.",
        f"Give both {first} channels.",
        f"Or both {second}.",
        because=f"{first} and {second} are usual widths",
        likelihood="possible",
        numbers={"first": first, "second": second},
    )


def _by_roles(first: int, second: int, told: Told) -> Iterator[Explanation]:
    """The readings of two lengths, and the best one with the roles exchanged where it may be."""
    order = _order(first, second, told)
    if order is not None:
        tokens_first, roles = order
        pair = (first, second) if tokens_first else (second, first)
        interpolated = interpolated_otherwise(*pair, told.facts)
        if interpolated:
            yield interpolated
            return
        readings = readings_of_run(*pair, told.facts)
        found = position_readings(*pair, told.spec, roles=roles, readings=readings)
        grid = told.facts.map_of(pair[0])
        yield from (each for each in found if grid is None or _of_grid(each) == grid)
        return
    roles = f"in x + table the sequence is the first operand, {first}"
    here = position_readings(first, second, told.spec, roles=roles)
    other = position_readings(second, first, told.spec)
    yield from here[:2]
    if other:
        best = other[0]
        because = "it holds if the code says table + x, with the sequence second"
        yield replace(best, because=because, likelihood="possible")
    yield from here[2:]


def _of_grid(meaning: Explanation) -> tuple[int, int, int]:
    """Rows, columns and tokens before them of the sequence that a reading speaks of."""
    numbers = meaning.numbers
    return numbers["token_rows"], numbers["token_columns"], numbers["num_prefix_tokens"]


def _order(first: int, second: int, told: Told) -> Roles | None:
    """Which of two operands is the sequence: the run says, or torch.compile, or the code."""
    maps = told.facts.map_of(first), told.facts.map_of(second)
    for at, (found, other) in enumerate((maps, maps[::-1])):
        if found and not other:
            return at == 0, f"the last map of the run is {by(found[:2])}"
    if sorted(told.parameters) == [False, True]:
        tokens_first = told.parameters[1]
        return tokens_first, f"the {'second' if tokens_first else 'first'} operand is a parameter"
    by_code = _order_of_code(told.marked) or _order_of_code(told.source)
    if by_code is not None:
        return by_code[0], f"the line “{told.source[:80]}” adds {by_code[1]}"
    batches = [shape[0] for shape in told.operands if len(shape) == 3]
    if len(batches) == 2 and 1 in batches and max(batches) > 1:
        return batches[1] == 1, f"the sequence has a batch of {max(batches)}"
    return None


def _order_of_code(source: str) -> Roles | None:
    """Whether the line of code adds the table to the sequence, or the other way round."""
    sums = [(left, right) for left, right in _SUM.findall(source[:500])]
    sums += [(a or b, right) for a, b, right in _ADD.findall(source[:500])]
    for left, right in sums:
        operand = re.split(r"[(,= ]", left.strip())[-1]
        if _TABLE.search(right) and not _TABLE.search(operand):
            return True, "the table to the sequence"
        if _TABLE.search(operand) and not _TABLE.search(right):
            return False, "the sequence to the table"
    return None


# ---- maps, channels-last maps and widths -----------------------------------------------------


def _second_of_four(
    first: int, second: int, shapes: Shapes | None, told: Told
) -> Iterator[Explanation]:
    """Channels of a map, or rows of a channels-last one."""
    assert shapes is not None  # without shapes the second axis is that of tokens
    left, right = shapes
    if looks_like_width(left[3]) and left[3] == right[3] and left[2] in (first, right[2]):
        yield _channels_last_map(shapes, told)
        return
    yield replace(_channels_of_sum(first, second, 1), likelihood="likely")


def _third_axis(
    first: int, second: int, shapes: Shapes | None, told: Told
) -> Iterator[Explanation]:
    """Widths of tokens, columns of a channels-last map, or rows of a map, by what is known."""
    if shapes:
        if shapes[0][3] == shapes[1][3] and (
            looks_like_width(shapes[0][3]) or shapes[0][1] != shapes[1][1]
        ):
            yield _channels_last_map(shapes, told)
        else:
            yield _map_sizes(first, second, 2, "likely")
        return
    widths = tuple(_widths(first, second, 2, told))
    width = told.spec.embed_dim if told.spec else None
    if widths and (widths[0].kind == "transpose" or width in (first, second)):
        yield from widths
        return
    if widths and width is None and min(first, second) >= _LEAST_WIDTH:
        yield from widths
        yield _channels_last_columns(first, second, told, "possible")
        return
    if square_of(first) and square_of(second) and max(first, second) > _WIDEST_MAP:
        yield from _by_roles(first, second, told)  # of (batch, width, tokens)
        return
    if _better_as_tokens(first, second, told):
        yield from (replace(each, likelihood="possible") for each in _by_roles(first, second, told))
        yield _channels_last_columns(first, second, told, "possible")
        return
    of_tokens = widths if width is None else ()  # the tokens are known to be of another width
    yield _channels_last_columns(first, second, told, "possible" if of_tokens else "likely")
    yield from (replace(each, likelihood="possible") for each in of_tokens)
    yield _map_sizes(first, second, 2, "possible")


def _better_as_tokens(first: int, second: int, told: Told) -> bool:
    """Whether two numbers are squares of small grids rather than columns of usual images.

    So 64 = 8·8 and 49 = 7·7 are 256 and 224 pixels at stride 32 (PVT), not 1024 and 784 at 16.
    """
    small = min(first, second) < 36 or told.spec is not None
    if small or not (square_of(first) and square_of(second)):
        return False
    sides = {_NOMINAL * columns for columns in (first, second)}
    grids = {32 * (isqrt(count)) for count in (first, second)}
    return grids <= set(USUAL_SIDES) and not sides <= set(USUAL_SIDES)


def _widths(first: int, second: int, axis: int, told: Told) -> Iterator[Explanation]:
    """Tokens of two widths, or a width against tokens."""
    transposed = tuple(_transposed(first, second, axis))
    yield from transposed
    known = bool(told.operands)
    if transposed or not (known or (looks_like_width(first) and looks_like_width(second))):
        return
    yield explain(
        "width",
        f"The tokens are {first} wide and what is added to them {second} (or the other way"
        " round), most likely the position table or the class token.",
        f"Make the position table and the class token as wide as the last convolution has"
        f" output channels, {first}.",
        f"Or let the last convolution have {second} output channels.",
        because="the last axis of (batch, tokens, width) is the width",
        numbers={"first": first, "second": second, "axis": axis},
    )


def _channels_last_map(shapes: Shapes, told: Told) -> Explanation:
    """Two maps (batch, rows, columns, channels) of different sides, both known."""
    left, right = shapes
    (rows, columns), table = left[1:3], right[1:3]
    numbers = {
        "token_rows": rows,
        "token_columns": columns,
        "table_rows": table[0],
        "table_columns": table[1],
    }
    images = ""
    resize = "Resize the image so that its map has the table's rows and columns."
    image = told.facts.image
    if image and rows and columns and not (image[0] % rows or image[1] % columns):
        made = table[0] * image[0] // rows, table[1] * image[1] // columns
        images = f": the image is {by(image)} pixels, and the table was made for {by(made)}"
        resize = f"Resize the image to {by(made)} pixels."
        numbers |= {"image_height": image[0], "image_width": image[1]}
        numbers |= {"table_image_height": made[0], "table_image_width": made[1]}
    return explain(
        "position table",
        f"{by(left)} and {by(right)} are (batch, rows, columns, channels): a channels-last map of"
        f" {by((rows, columns))} beside a table of {by(table)}{images}.",
        resize,
        _interpolate_map((rows, columns)),
        because=f"the last axis, {left[3]}, is the same in both and is the channels",
        numbers=numbers,
    )


def _channels_last_columns(
    first: int, second: int, told: Told, likelihood: Likelihood
) -> Explanation:
    """The columns of a channels-last map and of its table; the rows are not in the message."""
    spec = told.spec
    stride = spec.total_stride if spec else 16
    widths = [_side(told, columns, stride) for columns in (first, second)]
    which = f"At stride {stride}" + ("" if spec else ", the usual one,")
    numbers = {
        "token_columns": first,
        "table_columns": second,
        "total_stride": stride,
        "side": widths[0],
        "table_side": widths[1],
    }
    return explain(
        "position table",
        "Axis 2 of (batch, rows, columns, channels) is the columns: a channels-last map"
        f" {first} wide ({first}×{first} where it is square) beside a table {second} wide"
        f" ({second}×{second}). {which} that is an image {widths[0]} pixels wide for a model of"
        f" {widths[1]}.",
        f"Resize the image so that it is {widths[1]} pixels wide"
        f" ({widths[1]}×{widths[1]} for a square table).",
        _interpolate_map(None),
        because="PyTorch names the last axis that differs, so the axis behind it, the channels,"
        " is the same in both",
        likelihood=likelihood,
        numbers=numbers,
    )


def _side(told: Told, positions: int, stride: int) -> int:
    """A side that gives so many positions (pixels)."""
    sides = sides_for(told.spec.convs, positions) if told.spec else None
    whole = positions * stride
    return whole if sides is None or sides[0] <= whole <= sides[1] else sides[0]


def _interpolate_map(grid: tuple[int, int] | None) -> str:
    size = f"({grid[0]}, {grid[1]})" if grid else "x.shape[1:3]"
    return (
        "Or interpolate the table: F.interpolate(table.permute(0, 3, 1, 2),"
        f" size={size}).permute(0, 2, 3, 1)."
    )


def _map_sizes(first: int, second: int, axis: int, likelihood: Likelihood) -> Explanation:
    """Two maps of different sides."""
    step = ""
    if abs(first - second) == 1:
        step = " One convolution pads and the other does not, or the two round differently."
    elif max(first, second) % min(first, second) == 0:
        ratio = max(first, second) // min(first, second)
        step = f" One path has strides {ratio} times as large in all."
    return explain(
        "map size",
        f"The two operands of + differ along axis {axis}: {first} and {second}. In (batch,"
        f" channels, height, width) that is the size of two maps.{step}",
        "Give both paths the same strides, and each 3×3 convolution padding 1.",
        "Or resize one of the maps to the other.",
        because="the third and the fourth axis of a map are its height and width",
        likelihood=likelihood,
        numbers={"first": first, "second": second, "axis": axis},
    )


# ---- attention -------------------------------------------------------------------------------


def _fourth_axis(
    first: int, second: int, shapes: Shapes | None, told: Told
) -> Iterator[Explanation]:
    """Columns of two maps, tokens of attention scores, or channels of channels-last maps."""
    scores = _scores(first, second, 3)
    if _attends(told):
        yield scores or _mask(first, second)
        return
    # sides of maps mostly differ by a whole factor, and windows do not
    factor = max(first, second) % min(first, second) == 0
    widths = looks_like_width(first) and looks_like_width(second)
    if shapes:
        square = all(shape[2] in (1, shape[3]) for shape in shapes)
        if widths and _same_sides(shapes):
            yield replace(_channels_of_sum(first, second, 3), likelihood="likely")
        elif scores and square and (not factor or shapes[0][:2] != shapes[1][:2]):
            yield scores
        else:
            yield _table_of_map(shapes, told) or _map_sizes(first, second, 3, "likely")
        return
    if scores and not factor:
        yield scores
        yield _map_sizes(first, second, 3, "possible")
        return
    images = {first, second} <= set(USUAL_SIDES)
    if widths and min(first, second) >= _LEAST_WIDTH and not images:  # maps are not so wide
        yield replace(_channels_of_sum(first, second, 3), likelihood="likely")
        yield _map_sizes(first, second, 3, "possible")
        return
    flat = _flat_beside_map(first, second)
    if flat:
        yield flat
    table = None if factor or abs(first - second) == 1 else _columns_of_table(first, second, told)
    if table:
        yield table
    yield _map_sizes(first, second, 3, "likely")
    if scores:
        yield replace(scores, likelihood="possible")


def _flat_beside_map(first: int, second: int) -> Explanation | None:
    """The columns of a map beside all of its places in one row."""
    side, places = sorted((first, second))
    if side < 4 or side**2 != places:
        return None
    return explain(
        "flatten",
        f"One operand of + is {side} wide and the other {places} = {side}×{side}: a map of"
        f" {side}×{side} places beside the same that was flattened.",
        "Flatten both, x.flatten(2), or bring the tokens back to a map first:"
        f" x.transpose(1, 2).unflatten(2, ({side}, {side})).",
        because=f"{places} is {side} times {side}",
        numbers={"side": side, "places": places},
    )


def _columns_of_table(first: int, second: int, told: Told) -> Explanation | None:
    """The columns of a map and of a table (1, channels, rows, columns), as PiT's."""
    if max(first, second) > _WIDEST_MAP:
        return None
    spec = told.spec
    sides = [_side(told, columns, spec.total_stride) for columns in (first, second)] if spec else []
    images = f": images {sides[0]} and {sides[1]} pixels wide for the stem given" if spec else ""
    return explain(
        "position table",
        f"Axis 3 of (batch, channels, rows, columns) is the columns: a map {first} wide beside a"
        f" table of positions {second} wide{images}.",
        f"Resize the image to {sides[1]} pixels."
        if spec
        else f"Give the image that the model was built for: its map is {second} wide, not {first}.",
        "Or interpolate the table: F.interpolate(table, size=x.shape[2:]).",
        because="two paths of one model differ by a whole factor or by one, and these do not",
        numbers={"token_columns": first, "table_columns": second},
    )


def _mask(first: int, second: int) -> Explanation:
    return explain(
        "attention",
        f"The scores are those of {first} keys, and the mask was made for {second}.",
        f"Make the mask (queries, {first}), or give it an axis of length 1.",
        because="the last axes of a mask are queries and keys",
        numbers={"first": first, "second": second},
    )


def _table_of_map(shapes: Shapes, told: Told) -> Explanation | None:
    """A map and what no call of the run has made: a table (1, channels, rows, columns)."""
    made = {call.after for call in told.facts.calls}
    (left, right), (came, table) = shapes, told.operands
    if came not in made or table in made or right[0] != 1 or left[1] != right[1]:
        return None
    grid, built = left[2:], right[2:]
    return explain(
        "position table",
        f"A map of {by(grid)} came, and what is added to it is {by(table)}, which no call of this"
        f" run has made: a position table of {by(built)} places.",
        f"Give an image whose map is {by(built)}.",
        f"Or interpolate the table: F.interpolate(table, size=({grid[0]}, {grid[1]})).",
        because="its channels are those of the map, and its batch is 1",
        numbers={
            "token_rows": grid[0],
            "token_columns": grid[1],
            "table_rows": built[0],
            "table_columns": built[1],
        },
    )


def _same_sides(shapes: Shapes) -> bool:
    """Whether two channels-last maps differ in their channels alone."""
    left, right = shapes
    return left[1:3] == right[1:3] and left[1] > 1


def _scores(first: int, second: int, axis: int) -> Explanation | None:
    """Attention scores and a mask or a table of relative positions for another length."""
    whole = f"The two operands of + differ along axis {axis}: {first} and {second}."
    numbers = {"first": first, "second": second, "axis": axis}
    squares = square_of(first), square_of(second)
    if not all(squares):
        return _oblong_scores(first, second, axis)
    (side, prefix), (made, before) = squares  # type: ignore[misc]
    if prefix == before == 0 and max(side, made) <= 64:
        windows = f"For windows, build the model with window_size={made}, as the table."
        maps = (
            f"For whole maps, give an image whose map is {made}×{made} there: {made}/{side} of"
            " these sides."
        )
        small = max(side, made) <= _WIDEST_WINDOW
        return explain(
            "attention",
            f"{whole} Scores of {side}×{side} = {first} tokens, a window or a whole map, meet a"
            f" mask or a table of relative positions for {made}×{made} = {second}.",
            *((windows, maps) if small else (maps, windows)),
            f"Or interpolate the table from (2·{made}−1)² = {(2 * made - 1) ** 2} to"
            f" (2·{side}−1)² = {(2 * side - 1) ** 2} entries, and make the mask for"
            f" {side}×{side}.",
            because="the last axes of (windows, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
    if prefix or before:
        return explain(
            "attention",
            f"{whole} {in_squares(first)} against {in_squares(second)}:"
            " a mask or a table of relative positions was made for another number of tokens.",
            f"Make it {by((first, first))}, or interpolate it.",
            because="the last axes of (batch, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
    return None


def _oblong_scores(first: int, second: int, axis: int) -> Explanation | None:
    """Scores with a class token of an oblong image, beside a table for a square one (BEiT)."""
    grids = grid_of(first, prefix=1), grid_of(second, prefix=1)
    square = [grid is not None and grid[0] == grid[1] for grid in grids]
    if None in grids or square.count(True) != 1 or min(first, second) < _WIDEST_MAP:
        return None
    came, made = (
        f"{n} = {by(grid or ())} + 1" for n, grid in zip((first, second), grids, strict=True)
    )
    return explain(
        "attention",
        f"The two operands of + differ along axis {axis}: {came} against {made}: a mask or a table"
        " of relative positions was made for another number of tokens.",
        "Give an image of the size and shape that the table was made for.",
        f"Or make the table for {by((first, first))}, the class token counted.",
        because="the last axes of (batch, heads, tokens, tokens) are tokens",
        numbers={"first": first, "second": second, "axis": axis},
    )


def _of_five_axes(
    first: int, second: int, axis: int, shapes: Shapes | None
) -> Iterator[Explanation]:
    """Attention scores (images, windows, heads, tokens, tokens), or maps with a time axis."""
    numbers = {"first": first, "second": second, "axis": axis}
    attends = not shapes or all(shape[3] == shape[4] for shape in shapes)
    if axis >= 3 and attends:
        scores = _scores(first, second, axis)
        if scores:
            yield scores
    if axis == 1 and shapes and shapes[0][3:] == shapes[1][3:] and _side_of(shapes[0][4]):
        yield explain(
            "windows",
            f"The scores are those of {first} windows an image, and the mask was made for"
            f" {second}.",
            "Make the mask for the map at hand: rows // window_size times columns // window_size"
            " windows.",
            because=f"the last axes are the {shapes[0][4]} tokens of a window",
            numbers=numbers,
        )
        return
    name = {1: "channels or frames", 2: "frames or rows", 3: "height", 4: "width"}.get(axis, "axis")
    yield explain(
        "map size",
        f"The two operands of + differ along axis {axis}: {first} and {second}. In (batch,"
        f" channels, frames, height, width) that is the {name}.",
        "Give both paths the same strides and as many frames.",
        because="five axes are those of a video or a volume",
        likelihood="possible" if attends and not shapes else "likely",
        numbers=numbers,
    )


def _side_of(count: int) -> int:
    """Side of a square window of so many tokens, 0 for none."""
    side = isqrt(count)
    return side if side**2 == count else 0


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(
            r"size of tensor a \((\d{1,9})\) must match (?:the size of tensor b|…|\.\.\.)"
            r" \((\d{1,9})\)(?: at non-singleton dimension (\d))?"
        ),
        _two_operands,
    ),
)
"""What each error is known by, and who explains it."""
