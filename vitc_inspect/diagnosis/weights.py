"""Errors of load_state_dict: mismatched shapes, missing and unexpected keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from vitc_inspect.diagnosis.axes import Mismatch, clues_of, is_kernel, is_table, reads_image
from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    Likelihood,
    by,
    explain,
    parse_sizes,
    sides_by_name,
)
from vitc_inspect.diagnosis.grids import USUAL_SIDES, cube_of, grid_text, square_of
from vitc_inspect.diagnosis.kernels import of_kernel, of_pixels, other_rank, permutation, transposed
from vitc_inspect.diagnosis.keys import Keys, explain_names, names_a_stem
from vitc_inspect.diagnosis.length_readings import Layout, Reading
from vitc_inspect.diagnosis.positions import (
    explain_reading,
    interpolation,
    length_text,
    readings_for,
)
from vitc_inspect.diagnosis.size_differences import SizeDifference, find_differences
from vitc_inspect.diagnosis.size_explanations import explain_difference, later_stages
from vitc_inspect.diagnosis.window_explanations import exchanged_windows

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


_SHAPE = r"torch\.Size\((\[[\d, ]{0,200}\])\)"
_NAME = r"([^\s:\"]{1,200})"
_CHECKPOINT_FIRST = re.compile(
    "|".join(
        (
            rf"size mismatch for {_NAME}: copying a param with shape {_SHAPE} from checkpoint,"
            rf" the shape in current model is {_SHAPE}",
            rf"size mismatch for {_NAME}: copying a param of {_SHAPE} from checkpoint, where the"
            rf" shape is {_SHAPE} in current model",
            rf"(?<!\S){_NAME}: found shape {_SHAPE} in the checkpoint and {_SHAPE} in the model",
            rf"(?<!\S){_NAME} MISMATCH Reinit due to size mismatch - ckpt: {_SHAPE} vs model:"
            rf" ?{_SHAPE}",
        )
    )
)
"""One mismatch as PyTorch and transformers print it: name, checkpoint, model."""
_MODEL_FIRST = re.compile(
    r"While copying the parameter named [\"']?([^\s\"']{1,200})[\"']?, whose dimensions in the"
    rf" model are {_SHAPE} and whose dimensions in the checkpoint are {_SHAPE}"
)
"""One mismatch in which the model's shape comes first."""
_MISSING = re.compile(r"Missing key\(s\) in state_dict: ((?:\"[^\"]{1,200}\"(?:, )?){1,5000})")
_UNEXPECTED = re.compile(
    r"Unexpected key\(s\) in state_dict: ((?:\"[^\"]{1,200}\"(?:, )?){1,5000})"
)
_KEY = re.compile(r"\"([^\"]{1,200})\"")
_OPENING = re.compile(r"Error\(s\) in loading state_dict for")
_MOST_TABLES = 4  # most readings of one pair of tables


@DECODERS.matching(_OPENING, _MISSING, _UNEXPECTED, _CHECKPOINT_FIRST, _MODEL_FIRST)
def _load_errors(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """All errors of one load_state_dict call, causes before consequences."""
    openings = [m.start() for m in _OPENING.finditer(error.text) if m.start() <= match.start()]
    text = error.text[openings[-1] :] if openings else error.text
    missing, unexpected = _keys(_MISSING, text), _keys(_UNEXPECTED, text)
    # without the first line, some mismatches may be missing
    whole = bool(openings) and not names_a_stem(missing) and not names_a_stem(unexpected)
    yield from _all_explanations(_mismatches_in(text), missing, unexpected, error, whole=whole)


def _mismatches_in(text: str) -> tuple[Mismatch, ...]:
    """Every mismatched weight, each name once."""
    found: dict[str, Mismatch] = {}
    for match in _CHECKPOINT_FIRST.finditer(text):
        name, saved, built = (group for group in match.groups() if group is not None)
        found[name] = Mismatch(name=name, saved=parse_sizes(saved), built=parse_sizes(built))
    for match in _MODEL_FIRST.finditer(text):
        name, built, saved = match.groups()
        found[name] = Mismatch(name=name, saved=parse_sizes(saved), built=parse_sizes(built))
    return tuple(mismatch for mismatch in found.values() if mismatch.saved != mismatch.built)


def _keys(pattern: re.Pattern[str], text: str) -> Keys:
    found = pattern.search(text)
    keys = _KEY.findall(found.group(1)) if found else []
    # PyTorch lists these as unexpected but never as missing
    return tuple(key for key in keys if not key.endswith("num_batches_tracked"))


def _all_explanations(
    mismatches: Sequence[Mismatch],
    missing: Keys,
    unexpected: Keys,
    error: ErrorContext,
    *,
    whole: bool,
) -> Iterator[Explanation]:
    """Names, kernels, sizes and tables; unexplained weights come last."""
    names = tuple(explain_names(missing, unexpected))
    yield from (each for each in names if each.kind in _WHOLE)
    sharded = tuple(m for m in mismatches if (0,) in (m.saved, m.built))
    if sharded:
        yield _empty_shards(sharded)
    empty = tuple(m for m in mismatches if 0 in (*m.saved, *m.built) and m not in sharded)
    mismatches = tuple(m for m in mismatches if m not in (*sharded, *empty))
    turned = tuple(mismatch for mismatch in mismatches if permutation(mismatch))
    if turned:
        yield transposed(turned)
    straight = tuple(mismatch for mismatch in mismatches if mismatch not in turned)
    other_ranks = tuple(m for m in straight if len(m.saved) != len(m.built))
    diffs, left = find_differences([m for m in straight if m not in other_ranks])
    kernels = tuple(m for m in straight if m not in other_ranks and is_kernel(m))
    for mismatch in other_ranks[:_MOST_RANKS]:
        yield other_rank(mismatch)
    for first in {(m.saved[1:], m.built[1:]): m for m in reversed(kernels)}.values():
        yield from of_kernel(first)
    exchanged = exchanged_windows(diffs)
    if exchanged:
        yield exchanged
        diffs = tuple(diff for diff in diffs if diff.label != "side")
    explained = [each for diff in diffs for each in _explained_diff(diff, straight, whole=whole)]
    if 2 * len(left) > len(
        mismatches
    ):  # a difference that leaves most weights unexplained is less sure
        explained = [replace(each, likelihood=_less_sure(each.likelihood)) for each in explained]
    yield from (each for each in explained if each.kind != "classes")
    yield from of_pixels(straight, kernels)
    yield from (each for each in names if each.kind not in _WHOLE and each.likelihood != "possible")
    yield from _tables(straight, kernels, error, whole=whole)
    yield from (each for each in explained if each.kind == "classes")
    if left or empty:
        yield _unexplained((*left, *empty))
    yield from (each for each in names if each.kind not in _WHOLE and each.likelihood == "possible")


def _empty_shards(mismatches: Sequence[Mismatch]) -> Explanation:
    """Empty shards, as DeepSpeed's ZeRO-3 and FSDP leave them."""
    first = mismatches[0]
    in_checkpoint = first.saved == (0,)
    more = len(mismatches) - 1
    others = f", and so {'is' if more == 1 else 'are'} {more} more" if more else ""
    return explain(
        "empty",
        f"{first.name} has the shape {list(first.saved)} in the checkpoint and"
        f" {list(first.built)} in the model: the one with a 0 is empty{others}."
        " DeepSpeed's ZeRO-3 and FSDP leave such weights when they shard a model.",
        "Save the whole weights first: zero_to_fp32.py of DeepSpeed, or a full state dict of FSDP."
        if in_checkpoint
        else "Load before the model is wrapped, or within deepspeed.zero.GatheredParameters(...).",
        because="one of the two has an axis of length 0",
        numbers={"weights": len(mismatches)},
    )


def _explained_diff(
    diff: SizeDifference, mismatches: Sequence[Mismatch], *, whole: bool
) -> Iterator[Explanation]:
    """Explain a difference, as one of depth if only later blocks differ."""
    later = later_stages(diff) if whole else None
    yield from (later,) if later else explain_difference(diff, mismatches)


def _less_sure(likelihood: Likelihood) -> Likelihood:
    return "likely" if likelihood == "certain" else likelihood


_MOST_RANKS = 3
_WHOLE = ("names", "nested", "stem")  # explanations that concern all weights come first


def _unexplained(left: Sequence[Mismatch]) -> Explanation:
    """Weights of which only the shapes are known."""
    first = left[0]
    more = len(left) - 1
    others = f", and {more} {'other is' if more == 1 else 'others are'} like it" if more else ""
    return explain(
        "weights",
        f"{first.text}{others}.",
        "Build the model with the sizes of the checkpoint.",
        because="the shapes say no more than that",
        likelihood="possible",
        numbers={"weights": len(left)},
    )


# Position tables


def _tables(
    mismatches: Sequence[Mismatch], kernels: Sequence[Mismatch], error: ErrorContext, *, whole: bool
) -> Iterator[Explanation]:
    """Explain each pair of lengths or grids once, for any number of tables."""
    lengths: dict[tuple[int, int], list[str]] = {}
    for mismatch in mismatches:
        clues = [c for c in clues_of(mismatch) if is_table(mismatch)]
        for clue in clues:
            if clue.label == "tokens" and min(clue.saved, clue.built) == 0:
                yield _unexplained((mismatch,))
            elif clue.label == "tokens":
                lengths.setdefault((clue.saved, clue.built), []).append(mismatch.name)
        if any(clue.label in ("rows", "columns") for clue in clues):
            yield _grid_table(mismatch, {clue.label: clue.axis for clue in clues})
    for (saved, built), names in lengths.items():
        special = _text_table(names[0], saved, built) or _video_table(
            names, saved, built, mismatches
        )
        if special:
            yield special
        else:
            yield from _table(names, saved, built, kernels, error, whole=whole)


def _text_table(name: str, saved: int, built: int) -> Explanation | None:
    """Position tables of text; CLIP's has 77 entries."""
    if "visual" in name or not ("text" in name or 77 in (saved, built)):
        return None
    return explain(
        "text length",
        f"{name} has {saved} entries in the checkpoint and {built} in the model: positions of"
        " words, if it is the text's.",
        f"Build the model with a context of {saved} words.",
        because="CLIP's text has 77 positions" if 77 in (saved, built) else "the name says so",
        likelihood="likely" if "text" in name else "possible",
        numbers={"table": saved, "tokens": built},
    )


def _video_table(
    names: Sequence[str], saved: int, built: int, mismatches: Sequence[Mismatch]
) -> Explanation | None:
    """Position tables of video: frames times positions, and perhaps a class token."""
    volumes = cube_of(saved), cube_of(built)
    if all(volumes) and not (square_of(saved) and square_of(built)):
        return _volume_table(names[0], saved, built)
    video = any(len(m.saved) == 5 or len(m.built) == 5 for m in mismatches)
    video = video or bool(re.search(r"video|vivit|timesformer", names[0], re.IGNORECASE))
    if not video and square_of(saved) and square_of(built):
        return None
    # lengths of images fit too: 197 = 4·7·7 + 1
    for before, side in product((0, 1), _SIDES if video else _SIDES[:3]):
        ours, rest = divmod(saved - before, side**2)
        theirs, left = divmod(built - before, side**2)
        if rest or left or ours == theirs or not {ours, theirs} <= _FRAMES:
            continue
        more = f" + {before}" if before else ""
        return explain(
            "frames",
            f"{names[0]} has {saved} = {ours}·{side}·{side}{more} entries in the checkpoint and"
            f" {built} = {theirs}·{side}·{side}{more} in the model: tokens of a video, {ours}"
            f" frames or tubelets of {side}×{side} and {theirs}.",
            f"Build the model for {ours} times as many frames as a tubelet has.",
            f"Or interpolate the table over the frames, from {ours} to {theirs}.",
            because="there is a video's kernel or name"
            if video
            else f"{saved} or {built} is not a square, and {side}×{side} positions divide both",
            likelihood="likely" if video else "possible",
            numbers={"frames": ours, "expected_frames": theirs, "rows": side},
        )
    return None


def _volume_table(name: str, saved: int, built: int) -> Explanation:
    """Position tables of a volume that is cut into cubes (UNETR)."""
    ours, theirs = cube_of(saved), cube_of(built)
    return explain(
        "volume",
        f"{name} has {saved} = {by((ours,) * 3)} entries in the checkpoint and {built} ="
        f" {by((theirs,) * 3)} in the model: patches of a volume, at patch size 16 of"
        f" {by((16 * ours,) * 3)} and {by((16 * theirs,) * 3)} voxels.",
        "Build the model with the img_size of the checkpoint,"
        f" {by((16 * ours,) * 3)} where its patches are 16.",
        f"Or interpolate the table in three dimensions, from {by((ours,) * 3)} to"
        f" {by((theirs,) * 3)}.",
        because="both are cubes, and one of them is not a square",
        numbers={"side": ours, "expected_side": theirs},
    )


_SIDES = (14, 16, 24, 7, 12, 8)  # usual grid sides, most common first
_FRAMES = frozenset({1, 2, 4, 8, 16, 32})


def _grid_table(mismatch: Mismatch, axes: dict[str, int]) -> Explanation:
    """A position table stored as a map."""
    first = 1 if min(axes[a] for a in axes if a in ("rows", "columns")) < 3 and (
        axes.get("rows") == 1 or axes.get("columns") == 2
    ) else 2  # fmt: skip
    saved, built = mismatch.saved[first : first + 2], mismatch.built[first : first + 2]
    stride = _usual_stride((*saved, *built))
    images = [by([stride * side for side in grid]) for grid in (saved, built)]
    axis_order = "rows, columns, width" if first == 1 else "width, rows, columns"
    return explain(
        "position table",
        f"{mismatch.name} is a table of {by(saved)} positions in the checkpoint and {by(built)} in"
        f" the"
        f" model{f': at stride {stride} that would be images of ' if stride else ''}"
        f"{f'{images[0]} and {images[1]} pixels' if stride else ''}.",
        f"Interpolate the checkpoint's table from {by(saved)} to {by(built)} positions.",
        f"Or build the model for {images[0]} pixels where its stride is {stride}."
        if stride
        else f"Or build the model for the image size of the checkpoint, whose map is {by(saved)}.",
        because=f"its four axes are (1, {axis_order})",
        numbers=sides_by_name(table=saved, token=built),
    )


def _usual_stride(sides: Sequence[int]) -> int:
    """The most common stride at which these maps come from usual image sizes; 0 if none."""
    fits = {s: sum(s * side in USUAL_SIDES for side in sides) for s in (16, 14, 4, 8, 32)}
    best = max(fits, key=lambda stride: fits[stride])
    return best if fits[best] else 0


def _table(
    names: Sequence[str],
    saved: int,
    built: int,
    kernels: Sequence[Mismatch],
    error: ErrorContext,
    *,
    whole: bool,
) -> Iterator[Explanation]:
    """A position table of the wrong length; the one in the model fits its sequence."""
    owners = " and ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    opening = (
        f"{owners} {'has' if len(names) == 1 else 'have'} {saved} entries in the checkpoint and"
        f" {built} in the model"
    )
    readings = _consistent_readings(readings_for(built, saved, error.spec), kernels, whole=whole)
    for rank, reading in enumerate(readings[:_MOST_TABLES]):
        yield replace(
            explain_reading(reading, rank, error.spec),
            sentence=f"{opening}, {length_text(reading.table)} and {length_text(reading.tokens)}:"
            f" {_what_differs(reading)}.",
            fixes=tuple(_table_fixes(reading)),
        )
    if not readings:
        yield explain(
            "position table",
            f"{opening}, {grid_text(saved)} and {grid_text(built)}; no usual grids of one image"
            " or one stride give both.",
            "Build the model for the image size and the stride of the checkpoint.",
            because="the numbers say no more than that",
            likelihood="possible",
            numbers={"table": saved, "tokens": built},
        )


def _consistent_readings(
    readings: Sequence[Reading], kernels: Sequence[Mismatch], *, whole: bool
) -> list[Reading]:
    """The readings that agree with the kernels: other strides only if the kernels differ."""
    other = [m for m in kernels if m.built[-2:] != m.saved[-2:]]
    patches = [(m.built[-1], m.saved[-1]) for m in other if reads_image(m)]
    if patches:
        explained = [
            r for r in readings if (r.tokens.total_stride, r.table.total_stride) in patches
        ]
        return explained or _at_strides(readings, *patches[0])
    if whole and not other:  # all kernels match, so both have one stride
        return [r for r in readings if r.change != "stride"]
    return list(readings)


def _at_strides(readings: Sequence[Reading], model: int, checkpoint: int) -> list[Reading]:
    """The most likely grids, at the strides that the kernels imply."""
    grids = [r for r in readings if r.change != "stride"][:1]
    return [
        replace(r, tokens=_at_stride(r.tokens, model), table=_at_stride(r.table, checkpoint))
        for r in grids
    ]


def _at_stride(layout: Layout, stride: int) -> Layout:
    size = layout.rows * stride, layout.columns * stride
    return replace(layout, total_stride=stride, image_size=size)


def _what_differs(reading: Reading) -> str:
    """Why the two position tables differ in length."""
    model, checkpoint = reading.tokens, reading.table
    same = model.total_stride == checkpoint.total_stride
    other = "" if same else f", at stride {checkpoint.total_stride},"
    prefix = (
        f"the model puts {model.num_prefix_tokens} before the image's tokens where the"
        f" checkpoint puts {checkpoint.num_prefix_tokens}"
    )
    differs = {
        "image size": f"at stride {model.total_stride} the model is made for"
        f" {by(model.image_size)} pixels and the checkpoint{other} for {by(checkpoint.image_size)}",
        "stride": f"at {by(model.image_size)} pixels the model has stride"
        f" {model.total_stride} and the checkpoint {checkpoint.total_stride}",
        "prefix": f"the grids are the same, and {prefix}",
    }
    return differs.get(reading.change, f"{differs['image size']}; in addition, {prefix}")


def _table_fixes(reading: Reading) -> Iterator[str]:
    """Fixes for a checkpoint's position table of the wrong length."""
    model, checkpoint = reading.tokens, reading.table
    before, expected = model.num_prefix_tokens, checkpoint.num_prefix_tokens
    if reading.change == "prefix":
        yield f"Build the model with {expected} tokens before the image's."
        if expected > before:
            cut = f"torch.cat((table[:, :{before}], table[:, {expected}:]), 1)"
            yield f"Or leave entries out: {cut if before else f'table[:, {expected}:]'}."
        else:
            yield f"Or put {before - expected} new entries before the checkpoint's, and train on."
        return
    yield f"Interpolate the checkpoint's table {interpolation(reading)}."
    if reading.change == "stride":
        yield f"Or build the model with strides that multiply to {checkpoint.total_stride}."
    else:
        yield f"Or build the model for {by(checkpoint.image_size)} pixels."
    if before != expected:
        yield f"Besides, build it with {expected} tokens before the image's."
