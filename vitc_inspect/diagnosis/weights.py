"""Errors of load_state_dict: weights that do not fit, are missing, or that nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from vitc_inspect.diagnosis.axes import Misfit, clues_of, is_kernel, is_table, reads_image
from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Likelihood,
    Told,
    by,
    explain,
    sizes,
)
from vitc_inspect.diagnosis.facts import exchanged_windows, later_stages, words_of
from vitc_inspect.diagnosis.grids import (
    USUAL_SIDES,
    Layout,
    Reading,
    cube_of,
    in_squares,
    square_of,
)
from vitc_inspect.diagnosis.kernels import (
    of_kernel,
    of_pixels,
    other_rank,
    permutation,
    transposed,
)
from vitc_inspect.diagnosis.keys import Keys, names_a_stem, names_of
from vitc_inspect.diagnosis.positions import interpolation, length_of, of_reading, readings_for
from vitc_inspect.diagnosis.puzzle import Fact, solve

_SHAPE = r"torch\.Size\((\[[\d, ]{0,200}\])\)"
_NAME = r"([^\s:\"]{1,200})"
_KEPT_FIRST = re.compile(
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
"""One line of the error as PyTorch and transformers word it: name, checkpoint, model."""
_BUILT_FIRST = re.compile(
    r"While copying the parameter named [\"']?([^\s\"']{1,200})[\"']?, whose dimensions in the"
    rf" model are {_SHAPE} and whose dimensions in the checkpoint are {_SHAPE}"
)
"""One line in which the model's shape comes first."""
_MISSING = re.compile(r"Missing key\(s\) in state_dict: ((?:\"[^\"]{1,200}\"(?:, )?){1,5000})")
_UNEXPECTED = re.compile(
    r"Unexpected key\(s\) in state_dict: ((?:\"[^\"]{1,200}\"(?:, )?){1,5000})"
)
_KEY = re.compile(r"\"([^\"]{1,200})\"")
_OPENING = re.compile(r"Error\(s\) in loading state_dict for")
_MOST_TABLES = 4  # readings of one pair of tables; the rest would assume ever more


def _loading(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """All that load_state_dict complains of at once, the causes before their consequences."""
    openings = [m.start() for m in _OPENING.finditer(told.text) if m.start() <= match.start()]
    text = told.text[openings[-1] :] if openings else told.text
    missing, unexpected = _keys(_MISSING, text), _keys(_UNEXPECTED, text)
    # without its opening, lines of what does not fit may have been left out
    whole = bool(openings) and not names_a_stem(missing) and not names_a_stem(unexpected)
    yield from _ordered(_misfits_of(text), missing, unexpected, told, whole=whole)


def _misfits_of(text: str) -> tuple[Misfit, ...]:
    """Every weight that does not fit, each name once."""
    found: dict[str, Misfit] = {}
    for match in _KEPT_FIRST.finditer(text):
        name, kept, built = (group for group in match.groups() if group is not None)
        found[name] = Misfit(name=name, kept=sizes(kept), built=sizes(built))
    for match in _BUILT_FIRST.finditer(text):
        name, built, kept = match.groups()
        found[name] = Misfit(name=name, kept=sizes(kept), built=sizes(built))
    return tuple(misfit for misfit in found.values() if misfit.kept != misfit.built)


def _keys(pattern: re.Pattern[str], text: str) -> Keys:
    found = pattern.search(text)
    keys = _KEY.findall(found.group(1)) if found else []
    # PyTorch names these counters among the unexpected and never among the missing
    return tuple(key for key in keys if not key.endswith("num_batches_tracked"))


def _ordered(
    misfits: Sequence[Misfit], missing: Keys, unexpected: Keys, told: Told, *, whole: bool
) -> Iterator[Explanation]:
    """Names, kernels, sizes and tables; what nothing explains stands last."""
    names = tuple(names_of(missing, unexpected))
    yield from (each for each in names if each.kind in _WHOLE)
    hollow = tuple(m for m in misfits if (0,) in (m.kept, m.built))
    if hollow:
        yield _hollow(hollow)
    empty = tuple(m for m in misfits if 0 in (*m.kept, *m.built) and m not in hollow)
    misfits = tuple(m for m in misfits if m not in (*hollow, *empty))
    turned = tuple(misfit for misfit in misfits if permutation(misfit))
    if turned:
        yield transposed(turned)
    straight = tuple(misfit for misfit in misfits if misfit not in turned)
    other_ranks = tuple(m for m in straight if len(m.kept) != len(m.built))
    facts, left = solve([m for m in straight if m not in other_ranks])
    kernels = tuple(m for m in straight if m not in other_ranks and is_kernel(m))
    for misfit in other_ranks[:_MOST_RANKS]:
        yield other_rank(misfit)
    for first in {(m.kept[1:], m.built[1:]): m for m in reversed(kernels)}.values():
        yield from of_kernel(first)
    exchanged = exchanged_windows(facts)
    if exchanged:
        yield exchanged
        facts = tuple(fact for fact in facts if fact.label != "side")
    said = [each for fact in facts for each in _said(fact, straight, whole=whole)]
    if 2 * len(left) > len(misfits):  # a fact that leaves most unexplained may be another's
        said = [replace(each, likelihood=_doubted(each.likelihood)) for each in said]
    yield from (each for each in said if each.kind != "classes")
    yield from of_pixels(straight, kernels)
    yield from (each for each in names if each.kind not in _WHOLE and each.likelihood != "possible")
    yield from _tables(straight, kernels, told, whole=whole)
    yield from (each for each in said if each.kind == "classes")
    if left or empty:
        yield _left((*left, *empty))
    yield from (each for each in names if each.kind not in _WHOLE and each.likelihood == "possible")


def _hollow(misfits: Sequence[Misfit]) -> Explanation:
    """Weights without a number: DeepSpeed's ZeRO-3 and FSDP leave [0] where a part is elsewhere."""
    first = misfits[0]
    saved = first.kept == (0,)
    more = len(misfits) - 1
    others = f", and so {'is' if more == 1 else 'are'} {more} more" if more else ""
    return explain(
        "empty",
        f"{first.name} has the shape {list(first.kept)} in the checkpoint and"
        f" {list(first.built)} in the model: the one with a 0 holds no number{others}."
        " So it is where DeepSpeed's ZeRO-3 or FSDP have parted the weights among processes.",
        "Save the whole weights first: zero_to_fp32.py of DeepSpeed, or a full state dict of FSDP."
        if saved
        else "Load before the model is wrapped, or within deepspeed.zero.GatheredParameters(...).",
        because="one of the two has an axis of length 0",
        likelihood="likely",
        numbers={"weights": len(misfits)},
    )


def _said(fact: Fact, misfits: Sequence[Misfit], *, whole: bool) -> Iterator[Explanation]:
    """A fact in words, and as a matter of depth where only later blocks are of another width."""
    later = later_stages(fact) if whole else None
    yield from (later,) if later else words_of(fact, misfits)


def _doubted(likelihood: Likelihood) -> Likelihood:
    return "likely" if likelihood == "certain" else likelihood


_MOST_RANKS = 3
_WHOLE = ("names", "nested", "stem")  # what concerns every weight stands before the sizes


def _left(left: Sequence[Misfit]) -> Explanation:
    """Weights of which no more is understood than their shapes."""
    first = left[0]
    more = len(left) - 1
    others = f", and {more} {'other is' if more == 1 else 'others are'} like it" if more else ""
    return explain(
        "weights",
        f"{first.name} is {by(first.kept) or 'one number'} in the checkpoint and"
        f" {by(first.built) or 'one number'} in the model{others}.",
        "Build the model with the sizes of the checkpoint.",
        because="the shapes say no more than that",
        likelihood="possible",
        numbers={"weights": len(left)},
    )


# Tables of positions


def _tables(
    misfits: Sequence[Misfit], kernels: Sequence[Misfit], told: Told, *, whole: bool
) -> Iterator[Explanation]:
    """Each pair of lengths or grids once, whatever number of tables have it."""
    lengths: dict[tuple[int, int], list[str]] = {}
    for misfit in misfits:
        clues = [c for c in clues_of(misfit) if is_table(misfit)]
        for clue in clues:
            if clue.label == "tokens" and min(clue.kept, clue.built) == 0:
                yield _left((misfit,))
            elif clue.label == "tokens":
                lengths.setdefault((clue.kept, clue.built), []).append(misfit.name)
        if any(clue.label in ("rows", "columns") for clue in clues):
            yield _grid_table(misfit, {clue.label: clue.axis for clue in clues})
    for (kept, built), names in lengths.items():
        told_apart = _text_table(names[0], kept, built) or _video_table(names, kept, built, misfits)
        if told_apart:
            yield told_apart
        else:
            yield from _table(names, kept, built, kernels, told, whole=whole)


def _text_table(name: str, kept: int, built: int) -> Explanation | None:
    """Positions of words: CLIP's text has 77."""
    if "visual" in name or not ("text" in name or 77 in (kept, built)):
        return None
    return explain(
        "text length",
        f"{name} has {kept} entries in the checkpoint and {built} in the model: places for words,"
        " if it is the text's.",
        f"Build the model with a context of {kept} words.",
        because="CLIP's text has 77 places" if 77 in (kept, built) else "the name says so",
        likelihood="likely" if "text" in name else "possible",
        numbers={"table": kept, "tokens": built},
    )


def _video_table(
    names: Sequence[str], kept: int, built: int, misfits: Sequence[Misfit]
) -> Explanation | None:
    """Positions of a video: frames times the places of one, and perhaps a class token."""
    volumes = cube_of(kept), cube_of(built)
    if all(volumes) and not (square_of(kept) and square_of(built)):
        return _volume_table(names[0], kept, built)
    video = any(len(m.kept) == 5 or len(m.built) == 5 for m in misfits)
    video = video or bool(re.search(r"video|vivit|timesformer", names[0], re.IGNORECASE))
    if not video and square_of(kept) and square_of(built):
        return None
    # of an image, 197 = 4·7·7 + 1 and 99 = 2·7·7 + 1 as well
    for before, side in product((0, 1), _SIDES if video else _SIDES[:3]):
        ours, rest = divmod(kept - before, side**2)
        theirs, left = divmod(built - before, side**2)
        if rest or left or ours == theirs or not {ours, theirs} <= _FRAMES:
            continue
        more = f" + {before}" if before else ""
        return explain(
            "frames",
            f"{names[0]} has {kept} = {ours}·{side}·{side}{more} entries in the checkpoint and"
            f" {built} = {theirs}·{side}·{side}{more} in the model: tokens of a video, {ours}"
            f" frames or tubelets of {side}×{side} and {theirs}.",
            f"Build the model for {ours} times as many frames as a tubelet has.",
            f"Or interpolate the table over the frames, from {ours} to {theirs}.",
            because="a video's kernel or name stands beside it"
            if video
            else f"{kept} or {built} is no square, and {side}×{side} places divide both",
            likelihood="likely" if video else "possible",
            numbers={"frames": ours, "expected_frames": theirs, "rows": side},
        )
    return None


def _volume_table(name: str, kept: int, built: int) -> Explanation:
    """Positions of a volume that is cut into cubes (UNETR)."""
    ours, theirs = cube_of(kept), cube_of(built)
    return explain(
        "volume",
        f"{name} has {kept} = {by((ours,) * 3)} entries in the checkpoint and {built} ="
        f" {by((theirs,) * 3)} in the model: patches of a volume, at patch size 16 of"
        f" {by((16 * ours,) * 3)} and {by((16 * theirs,) * 3)} voxels.",
        "Build the model with the img_size of the checkpoint,"
        f" {by((16 * ours,) * 3)} where its patches are 16.",
        f"Or interpolate the table in three dimensions, from {by((ours,) * 3)} to"
        f" {by((theirs,) * 3)}.",
        because="both are cubes, and one of them is no square",
        numbers={"side": ours, "expected_side": theirs},
    )


_SIDES = (14, 16, 24, 7, 12, 8)  # of grids in use, the commonest first
_FRAMES = frozenset({1, 2, 4, 8, 16, 32})


def _grid_table(misfit: Misfit, axes: dict[str, int]) -> Explanation:
    """A table that is kept as a map."""
    first = 1 if min(axes[a] for a in axes if a in ("rows", "columns")) < 3 and (
        axes.get("rows") == 1 or axes.get("columns") == 2
    ) else 2  # fmt: skip
    kept, built = misfit.kept[first : first + 2], misfit.built[first : first + 2]
    stride = _usual_stride((*kept, *built))
    images = [by([stride * side for side in grid]) for grid in (kept, built)]
    axis_order = "rows, columns, width" if first == 1 else "width, rows, columns"
    return explain(
        "position table",
        f"{misfit.name} is a table of {by(kept)} places in the checkpoint and {by(built)} in the"
        f" model{f': at stride {stride} that would be images of ' if stride else ''}"
        f"{f'{images[0]} and {images[1]} pixels' if stride else ''}.",
        f"Interpolate the checkpoint's table from {by(kept)} to {by(built)} places.",
        f"Or build the model for {images[0]} pixels where its stride is {stride}."
        if stride
        else f"Or build the model for the image size of the checkpoint, whose map is {by(kept)}.",
        because=f"its four axes are (1, {axis_order})",
        likelihood="likely",
        numbers={
            "table_rows": kept[0],
            "table_columns": kept[1],
            "token_rows": built[0],
            "token_columns": built[1],
        },
    )


def _usual_stride(sides: Sequence[int]) -> int:
    """The commonest stride at which most sides of maps come from usual images, 0 for none."""
    fits = {s: sum(s * side in USUAL_SIDES for side in sides) for s in (16, 14, 4, 8, 32)}
    best = max(fits, key=lambda stride: fits[stride])
    return best if fits[best] else 0


def _table(
    names: Sequence[str],
    kept: int,
    built: int,
    kernels: Sequence[Misfit],
    told: Told,
    *,
    whole: bool,
) -> Iterator[Explanation]:
    """A position table of another length. The model's own is as long as its sequence."""
    owners = " and ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    opening = (
        f"{owners} {'has' if len(names) == 1 else 'have'} {kept} entries in the checkpoint and"
        f" {built} in the model"
    )
    readings = _that_fit(readings_for(built, kept, told.spec), kernels, whole=whole)
    for rank, reading in enumerate(readings[:_MOST_TABLES]):
        yield replace(
            of_reading(reading, rank, told.spec),
            sentence=f"{opening}, {length_of(reading.table)} and {length_of(reading.tokens)}:"
            f" {_what_differs(reading)}.",
            fixes=tuple(_table_fixes(reading)),
        )
    if not readings:
        yield explain(
            "position table",
            f"{opening}, {in_squares(kept)} and {in_squares(built)}; no usual grids of one image"
            " or one stride give both.",
            "Build the model for the image size and the stride of the checkpoint.",
            because="the numbers say no more than that",
            likelihood="possible",
            numbers={"table": kept, "tokens": built},
        )


def _that_fit(
    readings: Sequence[Reading], kernels: Sequence[Misfit], *, whole: bool
) -> list[Reading]:
    """The readings that the kernels allow: other strides only where the kernels differ."""
    other = [m for m in kernels if m.built[-2:] != m.kept[-2:]]
    patches = [(m.built[-1], m.kept[-1]) for m in other if reads_image(m)]
    if patches:
        said = [r for r in readings if (r.tokens.total_stride, r.table.total_stride) in patches]
        return said or _at_strides(readings, *patches[0])
    if whole and not other:  # every kernel fits, so one stride cuts the patches of both
        return [r for r in readings if r.change != "stride"]
    return list(readings)


def _at_strides(readings: Sequence[Reading], model: int, checkpoint: int) -> list[Reading]:
    """The likeliest grids, at the strides that the kernels say."""
    grids = [r for r in readings if r.change != "stride"][:1]
    return [
        replace(r, tokens=_at_stride(r.tokens, model), table=_at_stride(r.table, checkpoint))
        for r in grids
    ]


def _at_stride(layout: Layout, stride: int) -> Layout:
    size = layout.rows * stride, layout.columns * stride
    return replace(layout, total_stride=stride, image_size=size)


def _what_differs(reading: Reading) -> str:
    """What makes the model's table longer or shorter than the checkpoint's."""
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
    return differs.get(reading.change, f"{differs['image size']}; besides, {prefix}")


def _table_fixes(reading: Reading) -> Iterator[str]:
    """What to do about a checkpoint's position table of another length."""
    model, checkpoint = reading.tokens, reading.table
    before, saved = model.num_prefix_tokens, checkpoint.num_prefix_tokens
    if reading.change == "prefix":
        yield f"Build the model with {saved} tokens before the image's."
        if saved > before:
            kept = f"torch.cat((table[:, :{before}], table[:, {saved}:]), 1)"
            yield f"Or leave entries out: {kept if before else f'table[:, {saved}:]'}."
        else:
            yield f"Or put {before - saved} new entries before the checkpoint's, and train on."
        return
    yield f"Interpolate the checkpoint's table {interpolation(reading)}."
    if reading.change == "stride":
        yield f"Or build the model with strides that multiply to {checkpoint.total_stride}."
    else:
        yield f"Or build the model for {by(checkpoint.image_size)} pixels."
    if before != saved:
        yield f"Besides, build it with {saved} tokens before the image's."


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (_OPENING, _loading),
    (_MISSING, _loading),
    (_UNEXPECTED, _loading),
    (_KEPT_FIRST, _loading),
    (_BUILT_FIRST, _loading),
)
"""What each error is known by, and who explains it."""
