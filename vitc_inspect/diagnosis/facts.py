"""The facts behind weights that do not fit, in words: other widths, windows, heads, classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from math import isqrt

from vitc_inspect.diagnosis.axes import Misfit, clues_of, is_table, window_of
from vitc_inspect.diagnosis.explanation import Explanation, Likelihood, by, explain
from vitc_inspect.diagnosis.puzzle import Fact


def words_of(fact: Fact, misfits: Sequence[Misfit]) -> Iterator[Explanation]:
    """A fact in words; nothing where it only follows from others or is said elsewhere.

    Args:
        fact: One size that differs.
        misfits: Every weight that does not fit, for what is the same in both.
    """
    if fact.label.endswith("width") and fact.label != "head width":
        yield _width(fact, misfits)
    elif fact.label.endswith("hidden"):
        yield _hidden(fact, misfits)
    elif fact.label.startswith("gate of the "):
        yield _gated(fact)
    elif fact.label.endswith("inner"):
        yield _inner(fact)
    elif fact.label in _WORDS:
        yield _WORDS[fact.label](fact)


def later_stages(fact: Fact) -> Explanation | None:
    """A width that blocks of one numbering have from some number on alone: stages begin elsewhere.

    Args:
        fact: A width, of a message that holds every weight that does not fit.

    Returns:
        The explanation; None where a weight before the blocks or in the first does not fit either.

    Source:
        Hiera numbers the blocks of all stages through.
    """
    found = [_NUMBERED.match(name) for name in fact.names]
    places = {(m[1], int(m[2])) for m in found if m}
    owners = {owner for owner, _ in places}
    first = min((number for _, number in places), default=0)
    if fact.label != "width" or len(owners) != 1 or None in found or first == 0:
        return None
    kept, built = fact.pairs[0]
    owner = owners.pop().removesuffix(".")
    return explain(
        "depth",
        f"From {owner}.{first} on blocks are {kept} wide in the checkpoint and {built} in the"
        f" model, and those before fit: {weights(len(fact.names))}. A stage begins at another"
        " block.",
        "Build the model with as many blocks in each stage as the checkpoint has.",
        because=f"nothing before {owner}.{first} misfits",
        numbers={"block": first, "width": kept, "expected_width": built},
    )


_NUMBERED = re.compile(r"(.{0,150}?\b(?:blocks?|layers?|h)\.)(\d{1,4})\.")


def exchanged_windows(facts: Sequence[Fact]) -> Explanation | None:
    """Relative rows and columns that are long in some blocks and short in others, and vice versa.

    Args:
        facts: What differs.

    Returns:
        The explanation of SAM and ViTDet with other global blocks; None where no two facts are
        each other's reverse.
    """
    sides = [fact for fact in facts if fact.label == "side"]
    for one in sides:
        for two in sides:
            (kept, built), other = one.pairs[0], two.pairs[0]
            if kept > built and other == (built, kept):
                return explain(
                    "windows",
                    f"{one.names[0]} is for {kept} tokens a side in the checkpoint and {built} in"
                    f" the model, {two.names[0]} the other way round: other blocks attend to the"
                    f" whole map of {kept}×{kept}, the rest to windows of {built}×{built}.",
                    "Build the model with the global blocks of the checkpoint:"
                    " global_attn_indexes of SAM, window_block_indexes of ViTDet.",
                    because="both lengths occur on both sides",
                    numbers={"side": kept, "window": built},
                )
    return None


def weights(count: int) -> str:
    """How many weights do not fit for a fact.

    >>> weights(1), weights(150)
    ('1 weight does not fit for that', '150 weights do not fit for that')
    """
    return f"{count} weight does not fit for that" if count == 1 else (
        f"{count} weights do not fit for that"
    )  # fmt: skip


def _listed(numbers: Sequence[int]) -> str:
    """Numbers read aloud: 96, 192 and 384."""
    *first, last = map(str, dict.fromkeys(numbers))
    return f"{', '.join(first)} and {last}" if first else last


def _sure(fact: Fact) -> Likelihood:
    """One name may mean something else; two of another kind that agree do not."""
    return "certain" if fact.evidence > 1 else "likely"


def _because(fact: Fact) -> str:
    first, *others = fact.names
    more = f" and {len(others)} more say so" if others else " say so"
    return f"the name and the shape of {first}{more}"


def _width(fact: Fact, misfits: Sequence[Misfit]) -> Explanation:
    """Numbers in a token, of one width or of stages that widen alike."""
    tower = fact.label.removesuffix("width").strip()
    kept, built = fact.pairs[0]
    numbers = {"weights": len(fact.names)}
    if tower == "mask":
        return _mask_width(fact)
    if tower:
        numbers |= {f"{tower}_width": kept, f"expected_{tower}_width": built}
        same = _encoder_width(misfits) if tower == "decoder" else None
        ours = ""
        if same:
            numbers["width"] = same
            ours = f" The encoder is {same} wide in both."
        return explain(
            "width",
            f"The {tower} is {kept} wide in the checkpoint and {built} in the model:"
            f" {weights(len(fact.names))}.{ours}",
            f"Build the model with {_TOWER_FIELDS.get(tower, f'a {tower} width of ')}{kept}.",
            because=_because(fact),
            likelihood=_sure(fact),
            numbers=numbers,
        )
    numbers |= {"width": kept, "expected_width": built}
    if len(fact.pairs) > 1:
        stages, others = zip(*fact.pairs, strict=True)
        return explain(
            "width",
            f"The stages of the checkpoint are {_listed(stages)} wide and the model's"
            f" {_listed(others)}: {weights(len(fact.names))}.",
            f"Build the model with stages of {_listed(stages)}, embed_dim={kept} where one number"
            " sets them.",
            because=_because(fact),
            likelihood=_sure(fact),
            numbers=numbers,
        )
    return explain(
        "width",
        f"The tokens of the checkpoint are {kept} wide and the model's {built}:"
        f" {weights(len(fact.names))}.{_map_of_places(fact, misfits)}",
        f"Build the model with embed_dim={kept}.",
        because=_because(fact),
        likelihood=_sure(fact),
        numbers=numbers,
    )


def _mask_width(fact: Fact) -> Explanation:
    """The width of a mask token, where no other weight says whose it is."""
    kept, built = fact.pairs[0]
    return explain(
        "width",
        f"{fact.names[0]} is {kept} wide in the checkpoint and {built} in the model: the width of"
        " the decoder in a masked autoencoder, of the encoder in BEiT and DINOv2.",
        f"Build the model with that width {kept}.",
        "Or leave the mask token out of the checkpoint, where no patches are masked.",
        because=_because(fact),
        numbers={"width": kept, "expected_width": built},
    )


def _map_of_places(fact: Fact, misfits: Sequence[Misfit]) -> str:
    """A word about a table of four axes, which is easily taken for a kernel."""
    for misfit in misfits:
        if misfit.name in fact.names[:3] and len(misfit.kept) == 4 and is_table(misfit):
            axis = next((c.axis for c in clues_of(misfit) if c.label.endswith("width")), 3)
            grid = misfit.kept[1:3] if axis == 3 else misfit.kept[2:]
            where = "last" if axis == 3 else "first"
            return f" {misfit.name} is a table of {by(grid)} places with its channels {where}."
    return ""


_TOWER_FIELDS = {"decoder": "decoder_embed_dim=", "predictor": "predictor_embed_dim="}


def _encoder_width(misfits: Sequence[Misfit]) -> int | None:
    """The width that the layer between encoder and decoder reads, where it is one in both."""
    for misfit in misfits:
        if misfit.name.endswith("decoder_embed.weight") and len(misfit.kept) == 2:
            return misfit.kept[1] if misfit.kept[1] == misfit.built[1] else None
    return None


def _hidden(fact: Fact, misfits: Sequence[Misfit]) -> Explanation:
    """The hidden width of an MLP, where the tokens are as wide in both."""
    kept, built = fact.pairs[0]
    shapes = [m.kept for m in misfits if m.name in fact.names and len(m.kept) == 2]
    width = next((size for shape in shapes for size in shape if size != kept), None)
    numbers = {"hidden": kept, "expected_hidden": built, "weights": len(fact.names)}
    fix = f"Build the model with {kept} hidden channels in the MLP."
    if width:
        numbers["width"] = width
        ratio = f"{kept // width}" if kept % width == 0 else f"{kept}/{width}"
        fix = f"Build the model with mlp_ratio={ratio}, which makes {kept} of {width}."
    return explain(
        "mlp",
        f"The MLP has {kept} hidden channels in the checkpoint and {built} in the model:"
        f" {weights(len(fact.names))}.",
        fix,
        because=_because(fact),
        likelihood=_sure(fact),
        numbers=numbers,
    )


def _gated(fact: Fact) -> Explanation:
    """A gated MLP (SwiGLU) against a plain one."""
    kept, built = fact.pairs[0]
    owner = fact.label.removeprefix("gate of the ")
    sizes = (f"2·{kept}", f"{built}") if owner == "checkpoint" else (f"{kept}", f"2·{built}")
    return explain(
        "mlp",
        f"The MLP of the {owner} is gated (SwiGLU) and the other's is not: its first layer makes"
        f" {sizes[0]} channels in the checkpoint and {sizes[1]} in the model, of which"
        f" {kept} and {built} go on: {weights(len(fact.names))}.",
        f"Build the model {'with' if owner == 'checkpoint' else 'without'} the gate, and with"
        f" {kept} hidden channels.",
        because=_because(fact),
        likelihood="likely",
        numbers={"hidden": kept, "expected_hidden": built, "weights": len(fact.names)},
    )


def _classes(fact: Fact) -> Explanation:
    kept, built = fact.pairs[0]
    return explain(
        "classes",
        f"{fact.names[0]} tells {kept} classes apart in the checkpoint and {built} in the model.",
        f"Leave the classifier's weights out of the checkpoint, and train {built} classes anew.",
        f"Or build the model with num_classes={kept - 1}: one more is for no object."
        if kept > 1 and _NO_OBJECT.search(fact.names[0])
        else f"Or build the model with num_classes={kept}.",
        because="the classifier's first axis is its classes",
        likelihood="certain",
        numbers={"classes": kept, "expected_classes": built},
    )


_NO_OBJECT = re.compile(r"(?:^|\.)class_embed\.(?:weight|bias)$|class_labels_classifier")
"""DETR and YOLOS; those with several class_embed (Deformable DETR, DINO) have no such class."""


def _window(fact: Fact) -> Explanation:
    """Windows of relative positions: tables of (2w − 1)² offsets and what is computed from w."""
    kept, built = fact.pairs[0]
    sides = 2 * kept - 1, 2 * built - 1
    return explain(
        "window",
        f"The windows are {by((kept, kept))} tokens in the checkpoint and {by((built, built))} in"
        f" the model, with tables of {sides[0]}² = {sides[0] ** 2} and {sides[1]}² ="
        f" {sides[1] ** 2} offsets: {weights(len(fact.names))}.",
        f"Build the model with window_size={kept}.",
        f"Or interpolate each relative_position_bias_table from {by((sides[0],) * 2)} to"
        f" {by((sides[1],) * 2)} entries a head, and leave relative_position_index,"
        " relative_coords_table and attn_mask out of the checkpoint: they are computed, not"
        " learned.",
        "Or, where the window is the whole grid of tokens as in BEiT, build the model for"
        f" {by((16 * kept,) * 2)} pixels instead of {by((16 * built,) * 2)} at patch size 16."
        if any("bias_table" in name for name in fact.names) and max(kept, built) > 12
        else "",
        because=_because(fact),
        likelihood=_sure(fact),
        numbers={"window": kept, "expected_window": built, "weights": len(fact.names)},
    )


def _offsets(fact: Fact) -> Explanation:
    """Tables of relative positions of which not both are square windows of one kind."""
    (kept, built), *_ = fact.pairs
    ours, theirs = window_of(kept), window_of(built)
    parts = [_offsets_of(count) for count in (kept, built)]
    numbers = {"offsets": kept, "expected_offsets": built, "weights": len(fact.names)}
    opening = (
        f"{fact.names[0]} has {parts[0]} offsets in the checkpoint and {parts[1]} in the model"
    )
    if not ours or not theirs:
        return explain(
            "window",
            f"{opening}: windows of other sizes, of which one is no square.",
            "Build the model with the windows of the checkpoint.",
            because=_because(fact),
            likelihood="possible",
            numbers=numbers,
        )
    which = "model" if theirs[1] else "checkpoint"
    return explain(
        "class token",
        f"{opening}: windows of {by((ours[0],) * 2)} and {by((theirs[0],) * 2)} tokens, and 3"
        f" offsets for a class token in the {which} alone.",
        f"Build the model {'without' if which == 'model' else 'with'} a class token.",
        because=_because(fact),
        numbers=numbers | {"window": ours[0], "expected_window": theirs[0]},
    )


def _offsets_of(rows: int) -> str:
    """The length of a table of relative positions: 732 = 27² + 3."""
    window = window_of(rows)
    if window is None:
        return f"{rows}"
    return f"{rows} = {2 * window[0] - 1}²{' + 3' if window[1] else ''}"


def _heads(fact: Fact) -> Explanation:
    kept, built = zip(*fact.pairs, strict=True)
    one = len(set(kept)) == 1
    return explain(
        "heads",
        f"The attention has {_listed(kept)} heads in the checkpoint and {_listed(built)} in the"
        f" model: {weights(len(fact.names))}.",
        f"Build the model with num_heads={kept[0]}."
        if one
        else f"Build the model with num_heads={tuple(dict.fromkeys(kept))}, stage by stage.",
        because=_because(fact),
        likelihood=_sure(fact),
        numbers={"num_heads": kept[0], "expected_num_heads": built[0]},
    )


def _windows(fact: Fact) -> Explanation:
    """How many windows a mask is for: the map's size, where the windows are as large."""
    (kept, built), *_ = fact.pairs
    sides = isqrt(kept), isqrt(built)
    square = (sides[0] ** 2, sides[1] ** 2) == (kept, built)
    grids = f", {by(sides[:1] * 2)} and {by(sides[1:] * 2)}" if square else ""
    return explain(
        "image size",
        f"The masks of the shifted windows are for {kept} windows in the checkpoint and {built} in"
        f" the model{grids}: the two are built for images of other sizes.",
        "Leave attn_mask out of the checkpoint; it is computed from the image size, not learned.",
        "Or build the model for the image size of the checkpoint.",
        because=_because(fact),
        numbers={"windows": kept, "expected_windows": built},
    )


def _side(fact: Fact) -> Explanation:
    """Tables of relative rows and columns, 2·side − 1 offsets long (SAM, ViTDet, MViTv2)."""
    (kept, built), *_ = fact.pairs
    rows = 2 * kept - 1, 2 * built - 1
    return explain(
        "relative positions",
        f"{fact.names[0]} has {rows[0]} = 2·{kept} − 1 offsets in the checkpoint and {rows[1]} ="
        f" 2·{built} − 1 in the model: attention over {kept} tokens a side and over {built}. With"
        f" whole images at patch size 16 that is {16 * kept} and {16 * built} pixels; with windows"
        f" it is their size. {weights(len(fact.names)).capitalize()}.",
        f"Build the model with the image size and the windows of the checkpoint: {kept} tokens a"
        " side.",
        f"Or interpolate the table from {rows[0]} to {rows[1]} rows.",
        f"Or let the same blocks attend to the whole map, where {min(kept, built)} are a window:"
        " global_attn_indexes of SAM, window_block_indexes of ViTDet."
        if min(kept, built) in (7, 8, 14)
        else "",
        because=_because(fact),
        numbers={"side": kept, "expected_side": built, "weights": len(fact.names)},
    )


def _square(fact: Fact) -> Explanation:
    """Attention biases for each distance on a square map (LeViT)."""
    (kept, built), *_ = fact.pairs
    return explain(
        "relative positions",
        f"The attention is built for maps of {by((kept, kept))} places in the checkpoint and"
        f" {by((built, built))} in the model, one bias for each distance:"
        f" {weights(len(fact.names))}.",
        f"Build the model for the image size of the checkpoint; at stride 16 that is {16 * kept}"
        f" pixels instead of {16 * built}.",
        because=_because(fact),
        numbers={"side": kept, "expected_side": built, "weights": len(fact.names)},
    )


def _head_width(fact: Fact) -> Explanation:
    (kept, built), *_ = fact.pairs
    return explain(
        "heads",
        f"A head of attention is {kept} wide in the checkpoint and {built} in the model:"
        f" {weights(len(fact.names))}.",
        f"Build the model with heads of {kept} numbers: num_heads = embed_dim / {kept}.",
        because=_because(fact),
        numbers={"head_dim": kept, "expected_head_dim": built},
    )


def _inner(fact: Fact) -> Explanation:
    (kept, built), *_ = fact.pairs
    return explain(
        "heads",
        f"Queries, keys and values are {kept} wide in the checkpoint and {built} in the model, and"
        f" the tokens are as wide in both: {weights(len(fact.names))}.",
        f"Build the model with num_heads · head_dim = {kept}.",
        because=_because(fact),
        likelihood="likely",
        numbers={"inner_width": kept, "expected_inner_width": built},
    )


def _added(fact: Fact) -> Explanation:
    (kept, built), *_ = fact.pairs
    return explain(
        "registers",
        f"{fact.names[0]} holds {kept} tokens in the checkpoint and {built} in the model.",
        f"Build the model with {kept} of them.",
        because=_because(fact),
        likelihood="certain",
        numbers={"tokens": kept, "expected_tokens": built},
    )


def _out(fact: Fact) -> Explanation:
    (kept, built), *_ = fact.pairs
    return explain(
        "width",
        f"{fact.names[0]} gives {kept} numbers in the checkpoint and {built} in the model: the"
        " width that image and text share.",
        f"Build the model with an output of {kept}.",
        because=_because(fact),
        likelihood="likely",
        numbers={"output_width": kept, "expected_output_width": built},
    )


def _tubelet(fact: Fact) -> Explanation:
    (kept, built), *_ = fact.pairs
    return explain(
        "tubelet",
        f"{fact.names[0]} cuts {kept} frames at a time in the checkpoint and {built} in the model.",
        f"Build the model with tubelet_size={kept}.",
        f"Or resample the kernel from {kept} to {built} frames, and train on.",
        because="the third of five axes of the weight is the frames",
        likelihood="certain",
        numbers={"tubelet": kept, "expected_tubelet": built},
    )


def _frames(fact: Fact) -> Explanation:
    (kept, built), *_ = fact.pairs
    return explain(
        "frames",
        f"{fact.names[0]} has entries for {kept} frames in the checkpoint and {built} in the"
        " model.",
        f"Build the model for {kept} frames.",
        f"Or interpolate the table from {kept} to {built} entries.",
        because=_because(fact),
        likelihood="likely",
        numbers={"frames": kept, "expected_frames": built},
    )


_WORDS: dict[str, Callable[[Fact], Explanation]] = {
    "classes": _classes,
    "window": _window,
    "heads": _heads,
    "offsets": _offsets,
    "windows": _windows,
    "side": _side,
    "square": _square,
    "head width": _head_width,
    "added": _added,
    "out": _out,
    "tubelet": _tubelet,
    "frames": _frames,
}
"""Who says each fact; kernels, channels and tables of positions are said in `weights`."""
