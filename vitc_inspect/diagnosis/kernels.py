"""Weights of convolutions that do not fit: kernels, channels, frames, axes in another order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations
from math import isqrt, prod

from vitc_inspect.diagnosis.axes import Misfit, clues_of, is_kernel, is_table, reads_image
from vitc_inspect.diagnosis.explanation import Explanation, by, explain

# Weights whose axes stand in another order, or are more or fewer


def permutation(misfit: Misfit) -> tuple[int, ...] | None:
    """The order of axes that makes the checkpoint's shape the model's, where there is one."""
    kept, built = misfit.kept, misfit.built
    rank = len(kept)
    if not 2 <= rank == len(built) <= 5 or sorted(kept) != sorted(built) or 0 in kept:
        return None
    if rank == 4:  # (height, width, in, out), as TensorFlow and Flax keep a kernel, comes first
        orders = [(3, 2, 0, 1), *permutations(range(4))]
    else:
        orders = list(permutations(range(rank)))
    return next((o for o in orders if tuple(kept[axis] for axis in o) == built), None)


def transposed(turned: Sequence[Misfit]) -> Explanation:
    """Weights that would fit if their axes stood in another order."""
    first = turned[0]
    order = permutation(first) or ()
    more = len(turned) - 1
    many = f", and {more} {'other' if more == 1 else 'others'} likewise" if more else ""
    call = "weight.T" if order == (1, 0) else f"weight.permute{order}"
    return explain(
        "transpose",
        f"{first.name} is {by(first.kept)} in the checkpoint and {by(first.built)} in the model:"
        f" the same axes in another order{many}.",
        f"Turn it: {call}.",
        because="both shapes have the same numbers; Conv1D of transformers' GPT-2, TensorFlow and"
        " Flax keep weights so",
        likelihood="likely",
        numbers={"weights": len(turned)},
    )


def other_rank(misfit: Misfit) -> Explanation:
    """A weight that has more or fewer axes."""
    name, kept, built = misfit.name, misfit.kept, misfit.built
    opening = (
        f"{name} is {by(kept) or 'one number'} in the checkpoint and {by(built) or 'one number'}"
    )
    numbers = {"axes": len(kept), "expected_axes": len(built)}
    if is_kernel(misfit) and {len(kept), len(built)} == {4, 5}:
        frames = (kept if len(kept) == 5 else built)[2]
        same = _frames_between(kept, built)
        video, image = ("checkpoint", "model") if len(kept) == 5 else ("model", "checkpoint")
        fix = f"Repeat it: weight[:, :, None].repeat(1, 1, {frames}, 1, 1) / {frames}."
        if video == "checkpoint":
            fix = "Add it up over the frames: weight.sum(2)."
        build = f"uild the model for {'video' if video == 'checkpoint' else 'images'}."
        return explain(
            "video",
            f"{opening} in the model: the {video} cuts {frames} frames of"
            f" {by((kept if len(kept) == 5 else built)[3:])} pixels at a time, and the {image}"
            " one image.",
            fix if same else "",
            f"Or b{build}" if same else f"B{build}",
            because="a kernel of five axes is Conv3d's, and its third axis the frames",
            likelihood="likely",
            numbers={**numbers, "tubelet": frames},
        )
    if prod(kept) == prod(built):
        how = "the axes of length 1 aside, they are the same"
        if [n for n in kept if n > 1] != [n for n in built if n > 1]:
            how = "both have as many numbers"
            if not is_table(misfit):
                how += ", and the order of those within a patch may differ"
        return explain(
            "axes",
            f"{opening} in the model: {how}.",
            f"Give it the model's shape: weight.reshape({', '.join(map(str, built))}).",
            because=f"both have {prod(kept):,} numbers",
            likelihood="likely",
            numbers=numbers,
        )
    return explain(
        "axes",
        f"{opening} in the model: {len(kept)} axes against {len(built)}.",
        "Build the model that the checkpoint was saved from.",
        because="the shapes say no more than that",
        likelihood="possible",
        numbers=numbers,
    )


def _frames_between(kept: tuple[int, ...], built: tuple[int, ...]) -> int:
    """Frames of a video's kernel beside an image's of the same sides; 0 where they are not."""
    long, short = sorted((kept, built), key=len, reverse=True)
    same = len(long) == 5 and len(short) == 4 and (*long[:2], *long[3:]) == short
    return long[2] if same else 0


# Kernels


def of_kernel(misfit: Misfit) -> Iterator[Explanation]:
    """The weight of a convolution: its kernel, its input channels."""
    name, kept, built = misfit.name, misfit.kept, misfit.built
    ours, theirs = kept[-2:], built[-2:]
    numbers = {"kernel_size": ours[0], "expected_kernel_size": theirs[0]}
    if ours != theirs:
        yield _other_stem(misfit, numbers) or _other_kernel(misfit, numbers)
    if kept[1] != built[1] and reads_image(misfit):
        yield explain(
            "channels",
            f"{name} reads {kept[1]} channels in the checkpoint and {built[1]} in the model.",
            f"Build the model with in_channels={kept[1]}.",
            _channels_fix(kept[1], built[1], len(kept)),
            because="the second axis of the weight is the input's channels",
            # one channel is also what a convolution in groups keeps
            likelihood="likely" if 1 in (kept[1], built[1]) else "certain",
            numbers={"in_channels": kept[1], "expected_in_channels": built[1]},
        )


def _other_stem(misfit: Misfit, numbers: dict[str, int]) -> Explanation | None:
    """A patchify stem against a convolutional one."""
    kept, built = misfit.kept[-2:], misfit.built[-2:]
    small, large = sorted((kept[0], built[0]))
    if not small <= 3 < 7 < large:
        return None
    patchify, conv = ("checkpoint", "model") if kept[0] == large else ("model", "checkpoint")
    return explain(
        "stem",
        f"{misfit.name} has a kernel of {by(kept)} in the checkpoint and {by(built)} in"
        f" the model: the {patchify} has a patchify stem and the {conv} a convolutional"
        " one.",
        "Build the model with the stem of the checkpoint; nothing makes one of the other.",
        because=f"{large}×{large} is a patch, {small}×{small} a layer of several",
        numbers=numbers,
    )


def _other_kernel(misfit: Misfit, numbers: dict[str, int]) -> Explanation:
    """Two kernels: patches of an image where they are even, as a stride's is."""
    name, kept, built = misfit.name, misfit.kept[-2:], misfit.built[-2:]
    resample = f"Or resample the kernels from {by(kept)} to {by(built)}, and train on."
    if reads_image(misfit) and all(side % 2 == 0 for side in (*kept, *built)):
        size = f"{kept[0]}" if kept[0] == kept[1] else f"{kept}"
        named = re.search(r"patch|conv_proj|projection|(?:^|\.)proj\.", name)
        return explain(
            "patch",
            f"{name} cuts patches of {by(kept)} pixels in the checkpoint and {by(built)}"
            " in the model.",
            f"Build the model with patch_size={size}.",
            resample,
            because="the last two axes of the weight are the kernel",
            likelihood="certain" if named else "likely",
            numbers=numbers,
        )
    return explain(
        "kernel",
        f"{name} has a kernel of {by(kept)} in the checkpoint and {by(built)} in the model.",
        f"Build this layer with kernel_size={kept[0] if kept[0] == kept[1] else kept}.",
        resample,
        because="the last two axes of the weight are the kernel",
        likelihood="certain",
        numbers=numbers,
    )


def _channels_fix(kept: int, built: int, rank: int) -> str:
    """How the weights of some channels serve for others."""
    later = ", -1" * (rank - 2)
    if built == 1:
        return "Or add the weights of its channels up: weight.sum(1, keepdim=True)."
    if kept == 1:
        part = "a third" if built == 3 else f"1/{built}"
        return f"Or give each channel {part}: weight.expand(-1, {built}{later}) / {built}."
    if kept > built:
        return f"Or keep those of the first {built}: weight[:, :{built}]; or train this layer anew."
    more = built - kept
    new = "the new channel" if more == 1 else f"the {more} new channels"
    return (
        f"Or start {new} at the mean of the others:"
        f" torch.cat((weight, weight.mean(1, keepdim=True).expand(-1, {more}{later})), 1)."
    )


def of_pixels(misfits: Sequence[Misfit], kernels: Sequence[Misfit]) -> Iterator[Explanation]:
    """Patches as rows of pixels: a linear embedding, or what a masked autoencoder predicts."""
    areas = {(prod(m.kept[-2:]), prod(m.built[-2:])) for m in kernels}
    pairs: dict[tuple[int, int], str] = {}
    for misfit in misfits:
        for clue in clues_of(misfit):
            if clue.label == "pixels":
                pairs.setdefault((clue.kept, clue.built), clue.misfit.name)
    for (kept, built), name in pairs.items():
        if any(kept * other == built * own for own, other in areas):
            continue  # the kernels have said it
        ours, theirs = _patch_of(kept), _patch_of(built)
        numbers = {"pixels": kept, "expected_pixels": built}
        yield explain(
            "patch",
            f"{name} is for patches of {ours} numbers in the checkpoint and {theirs} in the model.",
            "Build the model with the patch size and the channels of the checkpoint.",
            because="a patch is a row of its pixels and channels",
            likelihood="likely",
            numbers=numbers,
        )


def _patch_of(count: int) -> str:
    """A count of numbers as a square patch of colour or grey, where it is one."""
    for channels in (3, 1, 4):
        side = isqrt(count // channels)
        if side > 1 and side**2 * channels == count:
            return f"{count} = {side}·{side}·{channels}"
    return f"{count}"
