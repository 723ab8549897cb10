"""Check a model's parts against each other, and explain each contradiction with its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isqrt, prod

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import A_STEM, check_type
from vitc_inspect.diagnosis.contract import Contract
from vitc_inspect.diagnosis.divisibility import divisions_text, round_up
from vitc_inspect.diagnosis.explanation import Explanation, by, certain, explain, heads_fault
from vitc_inspect.diagnosis.length_readings import Reading, read_lengths, read_lengths_of
from vitc_inspect.stem.geometry import audit_pixels
from vitc_inspect.stem.spec import ConvLayer, StemSpec


def faults(contract: Contract) -> tuple[Explanation, ...]:
    """Check the parts of a model against each other.

    Args:
        contract: The known parts.

    Returns:
        Every contradiction, those that raise an error first; empty if there is none.

    Raises:
        SpecError: when the convolutions cannot be built for the image.

    >>> [fault.kind for fault in faults(Contract(patch_size=16, strides=(2, 2, 2, 1)))]
    ['stride']
    >>> faults(Contract(patch_size=16, strides=(2, 2, 2, 2), embed_dim=384, num_heads=6))
    ()
    """
    check_type("contract", contract, Contract, "Use Contract(patch_size=16, strides=(2, 2, 2, 2))")
    checks = (_stride, _heads, _width, _table, _division, _unread, _affine, _last_activation, _bias)
    return tuple(fault for check in checks for fault in check(contract))


def faults_of(spec: StemSpec) -> tuple[Explanation, ...]:
    """Find the faults of a stem that raise no error.

    Args:
        spec: The stem.

    Returns:
        The faults, as `faults` gives them.

    >>> from vitc_inspect.stem.presets import PRESETS
    >>> [fault.kind for fault in faults_of(PRESETS["blog_2021"].stem)]
    ['linear']
    """
    check_type("spec", spec, StemSpec, A_STEM)
    return faults(
        Contract(
            image_size=spec.image_size,
            in_channels=spec.in_channels,
            convs=spec.convs,
            num_prefix_tokens=spec.num_prefix_tokens,
        )
    )


def _stride(contract: Contract) -> Iterator[Explanation]:
    """Check the product of the strides against the stated patch size."""
    strides, patch = contract.all_strides, contract.patch_size
    if not strides or patch is None or prod(strides) == patch:
        return
    true = prod(strides)
    grids = ""
    if contract.image_size:
        real, stated = contract.grid_size, tuple(s // patch for s in contract.image_size)
        grids = f": {by(real or ())} tokens instead of the {by(stated)} that are expected"
    fixes = [f"Set patch_size to {true}, and make the position table for it."]
    ratio, left = divmod(patch, true)
    if not left:
        fixes.insert(0, f"Multiply one stride by {ratio}, so that all multiply to {patch}.")
    elif true % patch == 0:
        fixes.insert(0, f"Divide one stride by {true // patch}, so that all multiply to {patch}.")
    product = f"strides multiply to {'·'.join(map(str, strides))} = {true}"
    yield certain(
        "stride",
        f"The {product if len(strides) > 1 else f'stride is {true}'}, and patch_size"
        f" says {patch}{grids}.",
        *fixes,
        because="the product is not the patch size",
        numbers={"total_stride": true, "patch_size": patch},
    )


def _heads(contract: Contract) -> Iterator[Explanation]:
    """Check that the heads divide the token width."""
    width, heads = contract.width, contract.num_heads
    if width is not None and heads is not None and width % heads:
        yield heads_fault(width, heads)


def _width(contract: Contract) -> Iterator[Explanation]:
    """Check the token width against the width of the position table."""
    width, table = contract.width, contract.table_width
    if width is None or table is None or width == table:
        return
    silent = table == 1 or width == 1
    effect = (
        "one number is added to the whole token, and no error is raised"
        if silent
        else "they cannot be added"
    )
    yield certain(
        "width",
        f"A token has {width} numbers and an entry of the position table {table}: {effect}.",
        f"Make the position table {width} wide.",
        f"Or let the last convolution have {table} output channels.",
        because="the two are added number by number",
        numbers={"embed_dim": width, "table_width": table},
    )


def _table(contract: Contract) -> Iterator[Explanation]:
    """Check the sequence length against the length of the position table."""
    grid, table, prefix = contract.grid_size, contract.table_length, contract.num_prefix_tokens
    if grid is None or table is None or prefix is None:
        return
    tokens = prod(grid) + prefix
    if table == tokens or not all(grid):
        return
    whole = (
        f"{tokens} tokens = {by(grid)} + {prefix}" if prefix else f"{tokens} = {by(grid)} tokens"
    )
    numbers = {"tokens": tokens, "table": table, "num_prefix_tokens": prefix}
    if table == 1:
        yield certain(
            "position table",
            f"The position table has 1 entry for {whole}: the same numbers are added to"
            " every token, no error is raised, and no token knows its position.",
            f"Make the table (1, {tokens}, width) long.",
            because="an axis of length 1 is stretched to any length",
            numbers=numbers,
        )
        return
    made = next(
        (r.table for r in _readings(contract, tokens, table) if r.tokens.grid_size == grid), None
    )
    origin = ""
    # nearly any number of entries fits some non-square grid
    alike = made and made.rows * max(grid) == made.columns * min(grid)
    if made and (alike or made.rows == made.columns) and sorted(made.grid_size) != sorted(grid):
        before = made.num_prefix_tokens
        origin = f" It is made for {by(made.grid_size)}{f' + {before}' if before else ''} tokens."
    if table - prod(grid) in (0, 1) and prefix in (0, 1):
        yield _class_token_fault(grid, table, numbers)
    elif table > tokens:
        yield _long_table(whole, origin, grid, numbers, contract.num_patches)
    else:
        yield certain(
            "position table",
            f"The position table has {table} entries for {whole}:"
            f" {tokens - table} tokens have none.{origin}",
            f"Interpolate the table's grid to {by(grid)}.",
            f"Or make the table {tokens} entries long.",
            because="every token needs one entry, for its own position",
            numbers=numbers,
        )


def _long_table(
    whole: str,
    origin: str,
    grid: tuple[int, int],
    numbers: Mapping[str, int],
    num_patches: int | None,
) -> Explanation:
    """A table longer than the sequence: made for another grid, or for a maximum length."""
    table, tokens = numbers["table"], numbers["tokens"]
    cells = table - numbers["num_prefix_tokens"]
    # 1024 or 5000 is a maximum length, even if it is a square
    round_number = table % 100 == 0 or table & (table - 1) == 0
    made_for_grid = (isqrt(cells) ** 2 == cells and not round_number) or cells == num_patches
    if made_for_grid:
        sentence = (
            f"The position table has {table} entries for {whole}.{origin} If the code slices it to"
            f" [:, :{tokens}] every shape is right, and the positions are those of another grid,"
            f" further off with each row."
        )
    else:
        sentence = (
            f"The position table has {table} entries for {whole}. If it was made for another grid"
            f" and is cut to [:, :{tokens}], the positions are those of that grid; a table of a"
            f" maximum length that is sliced for every image is correct."
        )
    return explain(
        "position table",
        sentence,
        f"Interpolate the table's grid to {by(grid)}; do not cut it.",
        f"Or make the table {tokens} entries long.",
        likelihood="certain" if made_for_grid else "possible",
        because="every token needs one entry, for its own position"
        if made_for_grid
        else f"which grid {table} entries are for cannot be known",
        numbers=numbers,
    )


def _readings(contract: Contract, tokens: int, table: int) -> tuple[Reading, ...]:
    """Possible grids behind the two lengths, using the stem if it is known."""
    stem = contract.stem
    if stem and stem.num_prefix_tokens == contract.num_prefix_tokens:
        return read_lengths_of(stem, tokens, table)
    return read_lengths(tokens, table)


def _class_token_fault(
    grid: tuple[int, int], table: int, numbers: Mapping[str, int]
) -> Explanation:
    """A table that counts a class token that is missing, or the other way round."""
    patches = prod(grid)
    if table > patches:
        return certain(
            "class token",
            f"The position table has {table} = {by(grid)} + 1 entries, and only the"
            f" {patches} image tokens are given: the class token is missing. If the code slices"
            f" the table, each token gets the position before its own.",
            "Put the class token first: torch.cat((cls.expand(len(x), -1, -1), x), dim=1).",
            f"Or leave its entry out: pos_embed[:, 1:], which is {patches} long.",
            because="the table is one longer than the grid",
            numbers=numbers,
        )
    return certain(
        "class token",
        f"The position table has {table} = {by(grid)} entries, and with the class token"
        f" {patches + 1} tokens are given: it has no entry.",
        "Add the table to the image tokens, and put the class token before them afterwards.",
        f"Or make the table {patches + 1} entries long.",
        because="the table is as long as the grid alone",
        numbers=numbers,
    )


def _division(contract: Contract) -> Iterator[Explanation]:
    """Check that the patch size divides the image, if the convolutions are not known."""
    strides = contract.all_strides
    patch = prod(strides) if strides else contract.patch_size
    if contract.convs is not None or contract.image_size is None or patch is None:
        return
    if not any(side % patch for side in contract.image_size):
        return
    below = [max(patch, side - side % patch) for side in contract.image_size]
    above = [round_up(side, patch) for side in contract.image_size]
    parts = divisions_text(contract.image_size, (patch, patch))
    yield explain(
        "image size",
        f"The image is not divisible by the patch: {parts}. Patchify reads the whole"
        " patches only and drops the rest; padded convolutions may give one token more.",
        f"Resize the image to {by(below)} pixels.",
        f"Or pad it to {by(above)}.",
        because="the convolutions are not known, so only the division shows it",
        numbers={
            "image_height": contract.image_size[0],
            "image_width": contract.image_size[1],
            "total_stride": patch,
        },
    )


def _unread(contract: Contract) -> Iterator[Explanation]:
    """Check for pixels that no token reads."""
    stem = contract.stem
    if stem is None:
        return
    audit = audit_pixels(stem)
    if not audit.unread_pixels:
        return
    (height, width), step = stem.image_size, stem.total_stride
    lost = [
        f"{len(unread)} of {side} {name}s"
        for unread, side, name in (
            (audit.unread_rows, height, "row"),
            (audit.unread_columns, width, "column"),
        )
        if unread
    ]
    fixes = [f"Leave it so if {audit.unread_pixels:,} pixels of {height * width:,} do not matter."]
    size = _fully_read(stem)
    if size:
        fixes.insert(0, f"Resize the image to {by(size)} pixels, all of which are read.")
    padded = [conv for conv in stem.convs if conv.padding and conv.stride >= conv.kernel_size]
    if padded and all(side % step == 0 for side in stem.image_size):
        fixes.insert(0, "Set the padding to 0: windows that do not overlap need none.")
    yield certain(
        "unread pixels",
        f"No token reads {' and '.join(lost)} of the image, and every shape is right.",
        *fixes,
        because="no window of the convolutions reaches them",
        numbers={
            "unread_rows": len(audit.unread_rows),
            "unread_columns": len(audit.unread_columns),
            "unread_pixels": audit.unread_pixels,
        },
    )


def _fully_read(stem: StemSpec) -> tuple[int, int] | None:
    """The largest smaller image, a multiple of the stride, that the stem reads in full."""
    height, width = (side - side % stem.total_stride for side in stem.image_size)
    try:
        other = replace(stem, image_size=(height, width))
    except SpecError:  # the image is smaller than a stride or a kernel
        return None
    return None if audit_pixels(other).unread_pixels else other.image_size


def _affine(contract: Contract) -> Iterator[Explanation]:
    """Check for convolutions without an activation between them: one affine map."""
    convs = contract.convs or ()
    for first, last in _affine_runs(convs):
        run = convs[first : last + 1]
        size, step = 1, 1
        for conv in run:
            size, step = conv.seen(size, step)
        names = contract.conv_names
        whole = len(run) == len(convs)
        which = f"These {len(run)} convolutions" if whole else f"{names[first]} to {names[last]}"
        normed = any(conv.norm == "batch" for conv in run[:-1])
        while_used = " once training has ended, for BatchNorm is affine too," if normed else ""
        yield explain(
            "linear",
            f"{which} have no activation between them, so{while_used} they are one affine"
            f" map: away from the border one convolution of kernel {size}×{size} and stride"
            f" {step} does the same.",
            "Follow every convolution but the last with norm and activation, as in the paper:"
            " bn relu.",
            likelihood="certain" if whole else "possible",
            because="a composition of affine maps is affine"
            if whole
            else "a kernel may have been factored on purpose",
            numbers={"convolutions": len(run), "kernel_size": size, "total_stride": step},
        )


def _affine_runs(convs: tuple[ConvLayer, ...]) -> Iterator[tuple[int, int]]:
    """First and last index of each maximal run of convolutions that is one affine map."""
    first = 0
    for at, conv in enumerate(convs):
        goes_on = conv.activation == "none" and conv.norm != "layer" and at + 1 < len(convs)
        if goes_on:
            continue
        run = convs[first : at + 1]
        # depthwise-separable convolutions have no activation on purpose
        apart = any(c.groups > 1 for c in run)
        if len(run) > 1 and (len(run) == len(convs) or not apart):
            yield first, at
        first = at + 1


def _last_activation(contract: Contract) -> Iterator[Explanation]:
    """Check for an activation after the convolution that produces the tokens."""
    last = contract.convs[-1] if contract.convs else None
    if last is None or last.activation == "none":
        return
    lost = {
        "relu": "no number of a token can be below 0",
        "gelu": "no number of a token can be below −0.17",
        "silu": "no number of a token can be below −0.28",
        "hardswish": "no number of a token can be below −0.375",
    }[last.activation]
    yield explain(
        "activation",
        f"{last.activation} follows the last convolution: {lost} until something"
        " is added to it, as a position table is.",
        "Leave the last convolution bare, as in the paper.",
        because="the stems of the field end in a bare convolution or a norm",
        numbers={"embed_dim": last.out_channels},
    )


def _bias(contract: Contract) -> Iterator[Explanation]:
    """Check for a bias that the following batch normalisation cancels."""
    convs = contract.convs or ()
    names = [
        (name, conv)
        for name, conv in zip(contract.conv_names, convs, strict=True)
        if conv.bias and conv.norm == "batch"
    ]
    if not names:
        return
    params = sum(conv.out_channels for _, conv in names)
    yield bias_fault([name for name, _ in names], params)


def bias_fault(names: Sequence[str], params: int) -> Explanation:
    """Explain convolutions with a bias that the following batch normalisation cancels.

    Args:
        names: The convolutions.
        params: Number of parameters of their biases.
    """
    most = 6
    listed = ", ".join(names[:most])
    if len(names) > most:
        listed += f" and {len(names) - most} more"
    has = "has" if len(names) == 1 else "have"
    return certain(
        "bias",
        f"{listed} {has} a bias before BatchNorm, which subtracts each channel's mean and"
        f" the bias with it: {params:,} params that change nothing.",
        f"Set bias=False in {listed}.",
        because="BatchNorm's own shift does what the bias would",
        numbers={"params": params},
    )
