"""Mismatched weights of convolutions: kernel size, channels, frames, order of axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations
from math import prod

from vitc_inspect.diagnosis.axes import Mismatch, clues_of, is_kernel, is_table, reads_image
from vitc_inspect.diagnosis.explanation import Explanation, by, certain, explain
from vitc_inspect.diagnosis.grids import patch_of

# Axes in another order, and other ranks


def permutation(mismatch: Mismatch) -> tuple[int, ...] | None:
    """Return the permutation of axes from the checkpoint's shape to the model's, if any."""
    saved, built = mismatch.saved, mismatch.built
    rank = len(saved)
    if not 2 <= rank == len(built) <= 5 or sorted(saved) != sorted(built) or 0 in saved:
        return None
    if rank == 4:  # (height, width, in, out) of TensorFlow and Flax comes first
        orders = [(3, 2, 0, 1), *permutations(range(4))]
    else:
        orders = list(permutations(range(rank)))
    return next((o for o in orders if tuple(saved[axis] for axis in o) == built), None)


def transposed(turned: Sequence[Mismatch]) -> Explanation:
    """Explain weights whose axes are in another order."""
    first = turned[0]
    order = permutation(first) or ()
    more = len(turned) - 1
    many = f", and {more} {'other' if more == 1 else 'others'} likewise" if more else ""
    call = "weight.T" if order == (1, 0) else f"weight.permute{order}"
    return explain(
        "transpose",
        f"{first.text}: the same axes in another order{many}.",
        f"Turn it: {call}.",
        because="both shapes have the same numbers; Conv1D of transformers' GPT-2, TensorFlow and"
        " Flax keep weights so",
        numbers={"weights": len(turned)},
    )


def other_rank(mismatch: Mismatch) -> Explanation:
    """Explain a weight with more or fewer axes."""
    opening, saved, built = mismatch.text, mismatch.saved, mismatch.built
    numbers = {"axes": len(saved), "expected_axes": len(built)}
    if is_kernel(mismatch) and {len(saved), len(built)} == {4, 5}:
        frames = (saved if len(saved) == 5 else built)[2]
        same = _frames_between(saved, built)
        video, image = ("checkpoint", "model") if len(saved) == 5 else ("model", "checkpoint")
        fix = f"Repeat it: weight[:, :, None].repeat(1, 1, {frames}, 1, 1) / {frames}."
        if video == "checkpoint":
            fix = "Add it up over the frames: weight.sum(2)."
        build = f"uild the model for {'video' if video == 'checkpoint' else 'images'}."
        return explain(
            "video",
            f"{opening}: the {video} cuts {frames} frames of"
            f" {by((saved if len(saved) == 5 else built)[3:])} pixels at a time, and the {image}"
            " one image.",
            fix if same else "",
            f"Or b{build}" if same else f"B{build}",
            because="a kernel of five axes is Conv3d's, and its third axis the frames",
            numbers={**numbers, "tubelet": frames},
        )
    if prod(saved) == prod(built):
        how = "the axes of length 1 aside, they are the same"
        if [n for n in saved if n > 1] != [n for n in built if n > 1]:
            how = "both have equally many numbers"
            if not is_table(mismatch):
                how += ", and the order of those within a patch may differ"
        return explain(
            "axes",
            f"{opening}: {how}.",
            f"Give it the model's shape: weight.reshape({', '.join(map(str, built))}).",
            because=f"both have {prod(saved):,} numbers",
            numbers=numbers,
        )
    return explain(
        "axes",
        f"{opening}: {len(saved)} axes against {len(built)}.",
        "Build the model that the checkpoint was saved from.",
        because="the shapes say no more than that",
        likelihood="possible",
        numbers=numbers,
    )


def _frames_between(saved: tuple[int, ...], built: tuple[int, ...]) -> int:
    """Frames of a video kernel that matches an image kernel; 0 if it does not."""
    long, short = sorted((saved, built), key=len, reverse=True)
    same = len(long) == 5 and len(short) == 4 and (*long[:2], *long[3:]) == short
    return long[2] if same else 0


# Kernels


def of_kernel(mismatch: Mismatch) -> Iterator[Explanation]:
    """Explain the weight of a convolution: its kernel size and input channels."""
    name, saved, built = mismatch.name, mismatch.saved, mismatch.built
    ours, theirs = saved[-2:], built[-2:]
    numbers = {"kernel_size": ours[0], "expected_kernel_size": theirs[0]}
    if ours != theirs:
        yield _other_stem(mismatch, numbers) or _other_kernel(mismatch, numbers)
    if saved[1] != built[1] and reads_image(mismatch):
        yield explain(
            "channels",
            f"{name} reads {saved[1]} channels in the checkpoint and {built[1]} in the model.",
            f"Build the model with in_channels={saved[1]}.",
            _channels_fix(saved[1], built[1], len(saved)),
            because="the second axis of the weight is the input's channels",
            # a depthwise convolution has one input channel too
            likelihood="likely" if 1 in (saved[1], built[1]) else "certain",
            numbers={"in_channels": saved[1], "expected_in_channels": built[1]},
        )


def _other_stem(mismatch: Mismatch, numbers: dict[str, int]) -> Explanation | None:
    """A patchify stem in one and a convolutional stem in the other."""
    saved, built = mismatch.saved[-2:], mismatch.built[-2:]
    small, large = sorted((saved[0], built[0]))
    if not small <= 3 < 7 < large:
        return None
    patchify, conv = ("checkpoint", "model") if saved[0] == large else ("model", "checkpoint")
    return explain(
        "stem",
        f"{mismatch.name} has a kernel of {by(saved)} in the checkpoint and {by(built)} in the"
        f" model: the {patchify} has a patchify stem and the {conv} a convolutional one.",
        "Build the model with the stem of the checkpoint; one cannot be converted to the other.",
        because=f"{large}×{large} is a patch, {small}×{small} a layer of several",
        numbers=numbers,
    )


def _other_kernel(mismatch: Mismatch, numbers: dict[str, int]) -> Explanation:
    """Two kernel sizes; even ones are patches of an image."""
    name, saved, built = mismatch.name, mismatch.saved[-2:], mismatch.built[-2:]
    resample = f"Or resample the kernels from {by(saved)} to {by(built)}, and train on."
    if reads_image(mismatch) and all(side % 2 == 0 for side in (*saved, *built)):
        size = f"{saved[0]}" if saved[0] == saved[1] else f"{saved}"
        named = re.search(r"patch|conv_proj|projection|(?:^|\.)proj\.", name)
        return explain(
            "patch",
            f"{name} cuts patches of {by(saved)} pixels in the checkpoint and {by(built)}"
            " in the model.",
            f"Build the model with patch_size={size}.",
            resample,
            because="the last two axes of the weight are the kernel",
            likelihood="certain" if named else "likely",
            numbers=numbers,
        )
    return certain(
        "kernel",
        f"{name} has a kernel of {by(saved)} in the checkpoint and {by(built)} in the model.",
        f"Build this layer with kernel_size={saved[0] if saved[0] == saved[1] else saved}.",
        resample,
        because="the last two axes of the weight are the kernel",
        numbers=numbers,
    )


def _channels_fix(saved: int, built: int, rank: int) -> str:
    """The fix that adapts weights to another number of channels."""
    later = ", -1" * (rank - 2)
    if built == 1:
        return "Or add the weights of its channels up: weight.sum(1, keepdim=True)."
    if saved == 1:
        part = "a third" if built == 3 else f"1/{built}"
        return f"Or give each channel {part}: weight.expand(-1, {built}{later}) / {built}."
    if saved > built:
        keep = f"Or keep those of the first {built}: weight[:, :{built}]"
        return f"{keep}; or train this layer from scratch."
    more = built - saved
    new = "the new channel" if more == 1 else f"the {more} new channels"
    return (
        f"Or start {new} at the mean of the others:"
        f" torch.cat((weight, weight.mean(1, keepdim=True).expand(-1, {more}{later})), 1)."
    )


def of_pixels(mismatches: Sequence[Mismatch], kernels: Sequence[Mismatch]) -> Iterator[Explanation]:
    """Patches as rows of pixels: a linear embedding, or the output of a masked autoencoder."""
    areas = {(prod(m.saved[-2:]), prod(m.built[-2:])) for m in kernels}
    pairs: dict[tuple[int, int], str] = {}
    for mismatch in mismatches:
        for clue in clues_of(mismatch):
            if clue.label == "pixels":
                pairs.setdefault((clue.saved, clue.built), clue.mismatch.name)
    for (saved, built), name in pairs.items():
        if any(saved * other == built * own for own, other in areas):
            continue  # the kernels explain it
        ours, theirs = _patch_of(saved), _patch_of(built)
        numbers = {"pixels": saved, "expected_pixels": built}
        yield explain(
            "patch",
            f"{name} is for patches of {ours} numbers in the checkpoint and {theirs} in the model.",
            "Build the model with the patch size and the channels of the checkpoint.",
            because="a patch is a row of its pixels and channels",
            numbers=numbers,
        )


def _patch_of(count: int) -> str:
    """Format a count as a square patch with its channels, if it is one."""
    patch = patch_of(count, range(2, count))
    return f"{count} = {patch[0]}·{patch[0]}·{patch[1]}" if patch else f"{count}"
