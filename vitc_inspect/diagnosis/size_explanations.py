"""Explain the sizes that differ between a checkpoint and a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from vitc_inspect.diagnosis.axes import Mismatch, clues_of, is_table
from vitc_inspect.diagnosis.explanation import Explanation, Likelihood, by, certain, explain, listed
from vitc_inspect.diagnosis.size_differences import SizeDifference
from vitc_inspect.diagnosis.window_explanations import (
    explain_biases,
    explain_mask,
    explain_offsets,
    explain_rows,
    explain_window,
)


def explain_difference(
    diff: SizeDifference, mismatches: Sequence[Mismatch]
) -> Iterator[Explanation]:
    """Explain a size that differs; nothing if it follows from others.

    Args:
        diff: One size that differs.
        mismatches: All mismatched weights.
    """
    if diff.label.endswith("width") and diff.label != "head width":
        yield _width(diff, mismatches)
    elif diff.label.endswith("hidden"):
        yield _hidden(diff, mismatches)
    elif diff.label.startswith("gate of the "):
        yield _gated(diff)
    elif diff.label.endswith("inner"):
        yield _EXPLAIN["inner"](diff)
    elif diff.label in _EXPLAIN:
        yield _EXPLAIN[diff.label](diff)


def later_stages(diff: SizeDifference) -> Explanation | None:
    """Explain a width that differs only from some block on: stages start at other blocks.

    Args:
        diff: A width, from a message that lists all mismatched weights.

    Returns:
        The explanation; None if a weight before the blocks or in the first block differs too.

    Source:
        Hiera numbers its blocks across stages.
    """
    found = [_NUMBERED.match(name) for name in diff.names]
    places = {(m[1], int(m[2])) for m in found if m}
    owners = {owner for owner, _ in places}
    first = min((number for _, number in places), default=0)
    if diff.label != "width" or len(owners) != 1 or None in found or first == 0:
        return None
    saved, built = diff.pairs[0]
    owner = owners.pop().removesuffix(".")
    return explain(
        "depth",
        f"From {owner}.{first} on blocks are {saved} wide in the checkpoint and {built} in the"
        f" model, and those before fit: {diff.affected}. A stage begins at another block.",
        "Build the model with as many blocks in each stage as the checkpoint has.",
        because=f"everything before {owner}.{first} fits",
        numbers={"block": first, "width": saved, "expected_width": built},
    )


_NUMBERED = re.compile(r"(.{0,150}?\b(?:blocks?|layers?|h)\.)(\d{1,4})\.")


def _width(diff: SizeDifference, mismatches: Sequence[Mismatch]) -> Explanation:
    """Token width, of one size or of stages with one ratio."""
    tower = diff.label.removesuffix("width").strip()
    saved, built = diff.pairs[0]
    numbers = {"weights": len(diff.names)}
    if tower == "mask":
        return _mask_width(diff)
    if tower:
        numbers |= {f"{tower}_width": saved, f"expected_{tower}_width": built}
        same = _encoder_width(mismatches) if tower == "decoder" else None
        ours = ""
        if same:
            numbers["width"] = same
            ours = f" The encoder is {same} wide in both."
        return diff.explained(
            "width",
            f"The {tower} is {saved} wide in the checkpoint and {built} in the model:"
            f" {diff.affected}.{ours}",
            f"Build the model with {_TOWER_FIELDS.get(tower, f'a {tower} width of ')}{saved}.",
            likelihood=diff.likelihood,
            numbers=numbers,
        )
    numbers |= {"width": saved, "expected_width": built}
    if len(diff.pairs) > 1:
        stages, others = zip(*diff.pairs, strict=True)
        return diff.explained(
            "width",
            f"The stages of the checkpoint are {listed(stages)} wide and the model's"
            f" {listed(others)}: {diff.affected}.",
            f"Build the model with stages of {listed(stages)}, embed_dim={saved} where one number"
            " sets them.",
            likelihood=diff.likelihood,
            numbers=numbers,
        )
    return diff.explained(
        "width",
        f"The tokens of the checkpoint are {saved} wide and the model's {built}:"
        f" {diff.affected}.{_map_of_places(diff, mismatches)}",
        f"Build the model with embed_dim={saved}.",
        likelihood=diff.likelihood,
        numbers=numbers,
    )


def _mask_width(diff: SizeDifference) -> Explanation:
    """The width of a mask token, if no other weight tells which part it belongs to."""
    saved, built = diff.pairs[0]
    return diff.explained(
        "width",
        f"{diff.names[0]} is {saved} wide in the checkpoint and {built} in the model: the width of"
        " the decoder in a masked autoencoder, of the encoder in BEiT and DINOv2.",
        f"Build the model with that width {saved}.",
        "Or leave the mask token out of the checkpoint, where no patches are masked.",
        numbers={"width": saved, "expected_width": built},
    )


def _map_of_places(diff: SizeDifference, mismatches: Sequence[Mismatch]) -> str:
    """A word about a table of four axes, which is easily taken for a kernel."""
    for mismatch in mismatches:
        if mismatch.name in diff.names[:3] and len(mismatch.saved) == 4 and is_table(mismatch):
            axis = next((c.axis for c in clues_of(mismatch) if c.label.endswith("width")), 3)
            grid = mismatch.saved[1:3] if axis == 3 else mismatch.saved[2:]
            where = "last" if axis == 3 else "first"
            return f" {mismatch.name} is a table of {by(grid)} positions with its channels {where}."
    return ""


_TOWER_FIELDS = {"decoder": "decoder_embed_dim=", "predictor": "predictor_embed_dim="}


def _encoder_width(mismatches: Sequence[Mismatch]) -> int | None:
    """The input width of the layer between encoder and decoder, if equal in both."""
    for mismatch in mismatches:
        if mismatch.name.endswith("decoder_embed.weight") and len(mismatch.saved) == 2:
            return mismatch.saved[1] if mismatch.saved[1] == mismatch.built[1] else None
    return None


def _hidden(diff: SizeDifference, mismatches: Sequence[Mismatch]) -> Explanation:
    """The hidden width of an MLP, with equal token widths."""
    saved, built = diff.pairs[0]
    shapes = [m.saved for m in mismatches if m.name in diff.names and len(m.saved) == 2]
    width = next((size for shape in shapes for size in shape if size != saved), None)
    numbers = {"hidden": saved, "expected_hidden": built, "weights": len(diff.names)}
    fix = f"Build the model with {saved} hidden channels in the MLP."
    if width:
        numbers["width"] = width
        ratio = f"{saved // width}" if saved % width == 0 else f"{saved}/{width}"
        fix = f"Build the model with mlp_ratio={ratio}, which makes {saved} of {width}."
    return diff.explained(
        "mlp",
        f"The MLP has {saved} hidden channels in the checkpoint and {built} in the model:"
        f" {diff.affected}.",
        fix,
        likelihood=diff.likelihood,
        numbers=numbers,
    )


def _gated(diff: SizeDifference) -> Explanation:
    """A gated MLP (SwiGLU) in one and a plain one in the other."""
    saved, built = diff.pairs[0]
    owner = diff.label.removeprefix("gate of the ")
    sizes = (f"2·{saved}", f"{built}") if owner == "checkpoint" else (f"{saved}", f"2·{built}")
    return diff.explained(
        "mlp",
        f"The MLP of the {owner} is gated (SwiGLU) and the other's is not: its first layer makes"
        f" {sizes[0]} channels in the checkpoint and {sizes[1]} in the model, of which"
        f" {saved} and {built} go on: {diff.affected}.",
        f"Build the model {'with' if owner == 'checkpoint' else 'without'} the gate, and with"
        f" {saved} hidden channels.",
        numbers={"hidden": saved, "expected_hidden": built, "weights": len(diff.names)},
    )


def _classes(diff: SizeDifference) -> Explanation:
    saved, built = diff.pairs[0]
    return certain(
        "classes",
        f"{diff.names[0]} has {saved} classes in the checkpoint and {built} in the model.",
        f"Leave the classifier's weights out of the checkpoint, and train {built} classes from"
        f" scratch.",
        f"Or build the model with num_classes={saved - 1}: one more is for no object."
        if saved > 1 and _NO_OBJECT.search(diff.names[0])
        else f"Or build the model with num_classes={saved}.",
        because="the classifier's first axis is its classes",
        numbers={"classes": saved, "expected_classes": built},
    )


_NO_OBJECT = re.compile(r"(?:^|\.)class_embed\.(?:weight|bias)$|class_labels_classifier")
"""DETR and YOLOS; Deformable DETR and DINO have no such class."""


def _heads(diff: SizeDifference) -> Explanation:
    saved, built = zip(*diff.pairs, strict=True)
    one = len(set(saved)) == 1
    return diff.explained(
        "heads",
        f"The attention has {listed(saved)} heads in the checkpoint and {listed(built)} in the"
        f" model: {diff.affected}.",
        f"Build the model with num_heads={saved[0]}."
        if one
        else f"Build the model with num_heads={tuple(dict.fromkeys(saved))}, stage by stage.",
        likelihood=diff.likelihood,
        numbers={"num_heads": saved[0], "expected_num_heads": built[0]},
    )


def _template(
    kind: str,
    number: str,
    sentence: str,
    *fixes: str,
    likelihood: Likelihood = "likely",
    because: str = "",
) -> Callable[[SizeDifference], Explanation]:
    """Make the function that explains a size by filling the weight's name and both sizes in."""

    def filled(diff: SizeDifference) -> Explanation:
        saved, built = diff.pairs[0]
        words = {"name": diff.names[0], "saved": saved, "built": built}
        words["weights"] = diff.affected
        return explain(
            kind,
            sentence.format(**words),
            *(fix.format(**words) for fix in fixes),
            because=because or diff.because,
            likelihood=likelihood,
            numbers={number: saved, f"expected_{number}": built},
        )

    return filled


_EXPLAIN: dict[str, Callable[[SizeDifference], Explanation]] = {
    "classes": _classes,
    "window": explain_window,
    "heads": _heads,
    "offsets": explain_offsets,
    "windows": explain_mask,
    "side": explain_rows,
    "square": explain_biases,
    "head width": _template(
        *("heads", "head_dim"),
        "An attention head is {saved} wide in the checkpoint and {built} in the model: {weights}.",
        "Build the model with heads of {saved} numbers: num_heads = embed_dim / {saved}.",
    ),
    "inner": _template(
        *("heads", "inner_width"),
        "Queries, keys and values are {saved} wide in the checkpoint and {built} in the model, and"
        " the tokens are as wide in both: {weights}.",
        "Build the model with num_heads · head_dim = {saved}.",
    ),
    "added": _template(
        *("registers", "tokens"),
        "{name} holds {saved} tokens in the checkpoint and {built} in the model.",
        "Build the model with {saved} of them.",
        likelihood="certain",
    ),
    "out": _template(
        *("width", "output_width"),
        "{name} gives {saved} numbers in the checkpoint and {built} in the model: the width that"
        " image and text share.",
        "Build the model with an output of {saved}.",
    ),
    "tubelet": _template(
        *("tubelet", "tubelet"),
        "{name} cuts {saved} frames at a time in the checkpoint and {built} in the model.",
        "Build the model with tubelet_size={saved}.",
        "Or resample the kernel from {saved} to {built} frames, and train on.",
        likelihood="certain",
        because="the third of five axes of the weight is the frames",
    ),
    "frames": _template(
        *("frames", "frames"),
        "{name} has entries for {saved} frames in the checkpoint and {built} in the model.",
        "Build the model for {saved} frames.",
        "Or interpolate the table from {saved} to {built} entries.",
    ),
}
"""Functions by label; `weights` explains kernels, channels and position tables."""
