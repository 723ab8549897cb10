"""Explain window sizes and relative position tables that differ between checkpoint and model."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from vitc_inspect.diagnosis.axes import window_of
from vitc_inspect.diagnosis.explanation import Explanation, by, explain
from vitc_inspect.diagnosis.size_differences import SizeDifference


def exchanged_windows(diffs: Sequence[SizeDifference]) -> Explanation | None:
    """Explain relative position tables whose lengths are swapped between blocks.

    Args:
        diffs: All sizes that differ.

    Returns:
        The explanation, for SAM and ViTDet with other global blocks; None if no two differences
        are reversed.
    """
    sides = [diff for diff in diffs if diff.label == "side"]
    for one in sides:
        for two in sides:
            (saved, built), other = one.pairs[0], two.pairs[0]
            if saved > built and other == (built, saved):
                return explain(
                    "windows",
                    f"{one.names[0]} is for {saved} tokens a side in the checkpoint and {built} in"
                    f" the model, {two.names[0]} the other way round: different blocks attend to"
                    f" the whole map of {saved}×{saved}, the rest to windows of {built}×{built}.",
                    "Build the model with the global blocks of the checkpoint:"
                    " global_attn_indexes of SAM, window_block_indexes of ViTDet.",
                    because="both lengths occur on both sides",
                    numbers={"side": saved, "window": built},
                )
    return None


def explain_window(diff: SizeDifference) -> Explanation:
    """Window size: tables of (2w − 1)² offsets, and buffers computed from w."""
    saved, built = diff.pairs[0]
    sides = 2 * saved - 1, 2 * built - 1
    return diff.explained(
        "window",
        f"The windows are {by((saved, saved))} tokens in the checkpoint and {by((built, built))} in"
        f" the model, with tables of {sides[0]}² = {sides[0] ** 2} and {sides[1]}² ="
        f" {sides[1] ** 2} offsets: {diff.affected}.",
        f"Build the model with window_size={saved}.",
        f"Or interpolate each relative_position_bias_table from {by((sides[0],) * 2)} to"
        f" {by((sides[1],) * 2)} entries a head, and leave relative_position_index,"
        " relative_coords_table and attn_mask out of the checkpoint: they are computed, not"
        " learned.",
        "Or, where the window is the whole grid of tokens as in BEiT, build the model for"
        f" {by((16 * saved,) * 2)} pixels instead of {by((16 * built,) * 2)} at patch size 16."
        if any("bias_table" in name for name in diff.names) and max(saved, built) > 12
        else "",
        likelihood=diff.likelihood,
        numbers={"window": saved, "expected_window": built, "weights": len(diff.names)},
    )


def explain_offsets(diff: SizeDifference) -> Explanation:
    """Relative position tables that are not both square windows of one kind."""
    (saved, built), *_ = diff.pairs
    ours, theirs = window_of(saved), window_of(built)
    parts = [_offsets_of(count) for count in (saved, built)]
    numbers = {"offsets": saved, "expected_offsets": built, "weights": len(diff.names)}
    opening = (
        f"{diff.names[0]} has {parts[0]} offsets in the checkpoint and {parts[1]} in the model"
    )
    if not ours or not theirs:
        return diff.explained(
            "window",
            f"{opening}: windows of different sizes, one of which is not a square.",
            "Build the model with the windows of the checkpoint.",
            likelihood="possible",
            numbers=numbers,
        )
    which = "model" if theirs[1] else "checkpoint"
    return diff.explained(
        "class token",
        f"{opening}: windows of {by((ours[0],) * 2)} and {by((theirs[0],) * 2)} tokens, and 3"
        f" offsets for a class token in the {which} alone.",
        f"Build the model {'without' if which == 'model' else 'with'} a class token.",
        numbers=numbers | {"window": ours[0], "expected_window": theirs[0]},
    )


def _offsets_of(rows: int) -> str:
    """Format the length of a relative position table: 732 = 27² + 3."""
    window = window_of(rows)
    if window is None:
        return f"{rows}"
    return f"{rows} = {2 * window[0] - 1}²{' + 3' if window[1] else ''}"


def explain_mask(diff: SizeDifference) -> Explanation:
    """Number of windows of a mask, which follows from the size of the feature map."""
    (saved, built), *_ = diff.pairs
    sides = isqrt(saved), isqrt(built)
    square = (sides[0] ** 2, sides[1] ** 2) == (saved, built)
    grids = f", {by(sides[:1] * 2)} and {by(sides[1:] * 2)}" if square else ""
    return diff.explained(
        "image size",
        f"The masks of the shifted windows are for {saved} windows in the checkpoint and {built} in"
        f" the model{grids}: the two are built for images of different sizes.",
        "Leave attn_mask out of the checkpoint; it is computed from the image size, not learned.",
        "Or build the model for the image size of the checkpoint.",
        numbers={"windows": saved, "expected_windows": built},
    )


def explain_rows(diff: SizeDifference) -> Explanation:
    """Tables of relative rows and columns, 2·side − 1 entries long (SAM, ViTDet, MViTv2)."""
    (saved, built), *_ = diff.pairs
    rows = 2 * saved - 1, 2 * built - 1
    return diff.explained(
        "relative positions",
        f"{diff.names[0]} has {rows[0]} = 2·{saved} − 1 offsets in the checkpoint and {rows[1]} ="
        f" 2·{built} − 1 in the model: attention over {saved} tokens a side and over {built}. With"
        f" whole images at patch size 16 that is {16 * saved} and {16 * built} pixels; with windows"
        f" it is their size. {diff.affected.capitalize()}.",
        f"Build the model with the image size and the windows of the checkpoint: {saved} tokens a"
        " side.",
        f"Or interpolate the table from {rows[0]} to {rows[1]} rows.",
        f"Or let the same blocks attend to the whole map, where {min(saved, built)} are a window:"
        " global_attn_indexes of SAM, window_block_indexes of ViTDet."
        if min(saved, built) in (7, 8, 14)
        else "",
        numbers={"side": saved, "expected_side": built, "weights": len(diff.names)},
    )


def explain_biases(diff: SizeDifference) -> Explanation:
    """Attention biases for each offset on a square map (LeViT)."""
    (saved, built), *_ = diff.pairs
    return diff.explained(
        "relative positions",
        f"The attention is built for maps of {by((saved, saved))} positions in the checkpoint and"
        f" {by((built, built))} in the model, one bias for each distance: {diff.affected}.",
        f"Build the model for the image size of the checkpoint; at stride 16 that is {16 * saved}"
        f" pixels instead of {16 * built}.",
        numbers={"side": saved, "expected_side": built, "weights": len(diff.names)},
    )
