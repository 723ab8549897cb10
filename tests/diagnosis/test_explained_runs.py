"""Explanations of modules that really ran: what the run shows counts, and every fix is applied."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.module_report import ModuleReport

WIDTH = 16


def run(module: nn.Module, *shape: int) -> ModuleReport:
    """The report on a module in evaluation mode, without its other faults."""
    return inspect_call(module.eval(), (torch.zeros(shape),), audit=False)


def best(module: nn.Module, *shape: int) -> Explanation:
    report = run(module, *shape)
    assert report.failure is not None
    return report.explanations[0]


class Made(nn.Module):
    """A module whose forward is given, with the layers that it needs."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)
        self.called = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.called(self, x)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def cut(patch: int = 8, width: int = WIDTH) -> nn.Conv2d:
    return nn.Conv2d(3, width, patch, patch)


# ---- position tables: the image that is named gives the table's length ------------------------


def embedding(entries: int, patch: int = 8, prefix: int = 1, padded: bool = False) -> nn.Module:
    """A stem, `prefix` tokens before the image's, and a table of so many entries."""
    stem: nn.Module = cut(patch)
    if padded:  # strides of 2 with padding: patch must be a power of 2
        steps = patch.bit_length() - 1
        layers = [nn.Conv2d(3 if n == 0 else 4, 4, 3, 2, 1) for n in range(steps)]
        stem = nn.Sequential(*layers, nn.Conv2d(4, WIDTH, 1))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        t = tokens(m.stem(x))
        return torch.cat([m.cls.expand(len(t), -1, -1), t], 1) + m.pos_embed

    return Made(
        forward,
        stem=stem,
        cls=torch.zeros(1, prefix, WIDTH),
        pos_embed=torch.zeros(1, entries, WIDTH),
    )


@settings(deadline=None, derandomize=True, max_examples=40, database=None)
@given(
    image=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    side=st.integers(5, 14),
    patch=st.sampled_from((4, 8, 14)),
    padded=st.booleans(),
    prefix=st.sampled_from((1, 2)),
)
def test_no_reading_of_a_run_takes_the_image_for_another_and_its_fix_works(
    image: tuple[int, int], side: int, patch: int, padded: bool, prefix: int
) -> None:
    rows, columns = image
    if rows * columns == side**2 or (padded and patch == 14):
        return
    model = embedding(side**2 + prefix, patch, prefix, padded)
    pixels = rows * patch, columns * patch
    report = run(model, 1, 3, *pixels)
    for meaning in report.explanations:
        numbers = meaning.numbers
        assert (numbers["image_height"], numbers["image_width"]) == pixels
        assert (numbers["token_rows"], numbers["token_columns"]) == image
        # every image that a reading names is one that the table fits
        made = numbers["table_image_height"], numbers["table_image_width"]
        if numbers["table_prefix_tokens"] == prefix and numbers["table_stride"] == patch:
            assert run(model, 1, 3, *made).failure is None
    first = report.explanations[0]
    made = first.numbers["table_image_height"], first.numbers["table_image_width"]
    assert f"Resize the image to {made[0]}×{made[1]} pixels" in first.fixes[0]
    assert run(model, 1, 3, *made).failure is None


def test_a_table_that_was_interpolated_by_a_factor() -> None:
    """floor(37·(43/37)) is 42: a factor that is not exact loses a row."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        grid = m.pos_embed[:, 1:].reshape(1, 37, 37, WIDTH).permute(0, 3, 1, 2)
        how = {"scale_factor": (x.shape[2] // 2 / 37,) * 2} if m.size is None else {"size": m.size}
        grid = tokens(F.interpolate(grid, mode="nearest", **how))
        t = torch.cat([m.cls, tokens(m.stem(x))], 1)
        return t + torch.cat([m.pos_embed[:, :1], grid], 1)

    parts = {"cls": torch.zeros(1, 1, WIDTH), "pos_embed": torch.zeros(1, 37 * 37 + 1, WIDTH)}
    model = Made(forward, stem=cut(2), **parts)
    model.size = None
    meaning = best(model, 1, 3, 86, 86)
    assert "The table is 37×37, interpolate made 42×42 of it, and 43×43 tokens came" in (
        meaning.sentence
    )
    assert "scale_factor" in meaning.sentence
    model.size = meaning.numbers["token_rows"], meaning.numbers["token_columns"]
    assert f"size={model.size}" in meaning.fixes[0]
    assert run(model, 1, 3, 86, 86).failure is None


def test_a_table_interpolated_to_another_size_is_no_matter_of_a_factor() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        grid = F.interpolate(m.table, size=(5, 5))
        return tokens(m.stem(x)) + tokens(grid)

    model = Made(forward, stem=cut(), table=torch.zeros(1, WIDTH, 4, 4))
    meaning = best(model, 1, 3, 64, 64)
    assert "interpolate made 5×5 of it, and 8×8 tokens came" in meaning.sentence
    assert "factor" not in meaning.sentence
    assert "size=(8, 8)" in meaning.fixes[0]


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (6, 10)])
def test_a_channels_last_table_of_another_map(rows: int, columns: int) -> None:
    """As in SAM: the map is moved to (batch, rows, columns, channels) and a table is added."""
    table = torch.zeros(1, 2 * rows, 2 * columns, WIDTH)
    model = Made(lambda m, x: m.stem(x).permute(0, 2, 3, 1) + m.table, stem=cut(), table=table)
    meaning = best(model, 1, 3, rows * 8, columns * 8)
    assert f"channels-last map of {rows}×{columns} beside a table of {2 * rows}×{2 * columns}" in (
        meaning.sentence
    )
    made = meaning.numbers["table_image_height"], meaning.numbers["table_image_width"]
    assert made == (rows * 16, columns * 16)
    assert run(model, 1, 3, *made).failure is None
    expression = re.search(r"F\.interpolate\(table.*\)", meaning.fixes[1])
    assert expression
    smaller = eval(expression[0], {"F": F, "table": table})
    assert smaller.shape == (1, rows, columns, WIDTH)


# ---- maps that are made into tokens ----------------------------------------------------------


def strided(strides: tuple[int, ...], shape: tuple[int, ...]) -> nn.Module:
    layers = [
        nn.Conv2d(3 if n == 0 else WIDTH, WIDTH, 3, stride, 1) for n, stride in enumerate(strides)
    ]
    return Made(lambda m, x: m.stem(x).reshape(len(x), *shape), stem=nn.Sequential(*layers))


@pytest.mark.parametrize(
    ("strides", "shape", "image", "true", "needed"),
    [
        ((2, 1), (64, WIDTH), (32, 32), 2, 4),  # 16·16 places came, 8·8 are written
        ((2, 1), (WIDTH, 64), (32, 32), 2, 4),
        ((2, 1), (32, WIDTH), (16, 32), 2, 4),  # 8·16 came, 4·8 are written
        ((2, 1, 1), (WIDTH, 16), (32, 32), 2, 8),
        ((2, 2), (WIDTH, 256), (32, 32), 4, 2),
    ],
)
def test_a_missing_stride_is_told_by_the_map_of_the_run(
    strides: tuple[int, ...],
    shape: tuple[int, ...],
    image: tuple[int, int],
    true: int,
    needed: int,
) -> None:
    meaning = best(strided(strides, shape), 1, 3, *image)
    assert meaning.kind == "stride"
    assert f"the strides multiply to {true}, and {needed} is needed" in meaning.sentence
    assert (meaning.numbers["total_stride"], meaning.numbers["patch_size"]) == (true, needed)
    assert ("mixes the tokens" in meaning.sentence) == (shape[1] == WIDTH)
    if needed % true:
        assert "Multiply" not in meaning.fixes[0]
        return
    factor = int(re.findall(r"Multiply one stride by (\d+)", meaning.fixes[0])[0])
    mended = (*strides[:-1], strides[-1] * factor)
    assert run(strided(mended, shape), 1, 3, *image).failure is None


# ---- norms -----------------------------------------------------------------------------------


def normed(norm: nn.Module, how: Callable[[Tensor], Tensor]) -> nn.Module:
    return Made(lambda m, x: m.norm(how(m.stem(x))), stem=cut(), norm=norm)


def test_batch_norm_over_tokens_is_no_missing_batch() -> None:
    model = normed(nn.BatchNorm2d(WIDTH), tokens)
    (meaning,) = run(model, 2, 3, 64, 64).explanations
    assert (meaning.kind, meaning.likelihood) == ("norm", "certain")
    assert "2×64×16, which is (batch, tokens, width) for a batch of 2" in meaning.sentence
    assert f"LayerNorm({WIDTH})" in meaning.fixes[1]
    assert run(normed(nn.LayerNorm(WIDTH), tokens), 2, 3, 64, 64).failure is None
    assert run(normed(nn.BatchNorm2d(WIDTH), lambda m: m), 2, 3, 64, 64).failure is None


def test_batch_norm_over_what_is_flattened_and_not_transposed() -> None:
    (meaning,) = run(
        normed(nn.BatchNorm2d(WIDTH), lambda m: m.flatten(2)), 2, 3, 64, 64
    ).explanations
    assert "(batch, width, tokens)" in meaning.sentence
    assert f"BatchNorm1d({WIDTH})" in meaning.fixes[1]
    assert run(normed(nn.BatchNorm1d(WIDTH), lambda m: m.flatten(2)), 2, 3, 64, 64).failure is None


def test_an_image_without_a_batch_is_still_found() -> None:
    (meaning,) = run(normed(nn.BatchNorm2d(WIDTH), lambda m: m), 3, 64, 64).explanations
    assert meaning.kind == "batch"
    assert "image.unsqueeze(0)" in meaning.fixes[0]
    assert run(normed(nn.BatchNorm2d(WIDTH), lambda m: m), 1, 3, 64, 64).failure is None


def test_batch_norm_1d_over_tokens_with_the_width_last() -> None:
    (meaning,) = run(normed(nn.BatchNorm1d(WIDTH), tokens), 2, 3, 64, 64).explanations
    assert meaning.kind == "norm"
    assert "the last axis is the 16 that is missing" in meaning.because
    assert run(normed(nn.LayerNorm(WIDTH), tokens), 2, 3, 64, 64).failure is None


# ---- windows, merging, heads -----------------------------------------------------------------


def windows(x: Tensor, side: int) -> Tensor:
    """As Swin cuts a channels-last map."""
    b, rows, columns, c = x.shape
    x = x.view(b, rows // side, side, columns // side, side, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, c)


@pytest.mark.parametrize(("rows", "columns"), [(10, 10), (8, 10), (9, 8)])
def test_a_map_that_windows_do_not_divide_is_padded(rows: int, columns: int) -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        x = m.stem(x).permute(0, 2, 3, 1).contiguous()
        return windows(m.pad(x), 4)

    model = Made(forward, stem=cut(8, 32), pad=nn.Identity())
    meaning = best(model, 1, 3, rows * 8, columns * 8)
    assert meaning.kind == "windows"
    assert f"A map of {rows}×{columns} places and 32 channels" in meaning.sentence
    expression = re.search(r"F\.pad\(.*\)", meaning.fixes[0])
    assert expression
    model.pad = Made(lambda m, x: eval(expression[0], {"F": F, "x": x}).contiguous())
    assert run(model, 1, 3, rows * 8, columns * 8).failure is None


@pytest.mark.parametrize(
    ("axis", "others", "kind"),
    [
        (2, (2, 49, WIDTH), "grid"),  # tokens differ, and the widths are joined
        (1, (2, 49, 24), "width"),
        (1, (3, 49, WIDTH), "batch"),
    ],
)
def test_the_axis_that_differs_says_why_two_cannot_be_joined(
    axis: int, others: tuple[int, ...], kind: str
) -> None:
    model = Made(lambda m, x: torch.cat([tokens(m.stem(x)), torch.zeros(others)], axis), stem=cut())
    assert [each.kind for each in run(model, 2, 3, 64, 64).explanations] == [kind]


def test_patch_merging_of_an_odd_map() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        x = m.pad(m.stem(x).permute(0, 2, 3, 1))
        return torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], -1)

    model = Made(forward, stem=cut(), pad=nn.Identity())
    meaning = best(model, 1, 3, 56, 56)
    assert meaning.kind == "patch merging"
    assert "4 and 3 of a side of 7" in meaning.sentence
    expression = re.search(r"F\.pad\(.*\)", meaning.fixes[0])
    assert expression
    model.pad = Made(lambda m, x: eval(expression[0], {"F": F, "x": x, "H": 7, "W": 7}))
    assert run(model, 1, 3, 56, 56).failure is None


@pytest.mark.parametrize(("side", "made"), [(7, 8), (12, 7), (8, 4)])
def test_scores_of_windows_beside_a_table_for_others(side: int, made: int) -> None:
    scores, table = torch.zeros(6, 3, side**2, side**2), torch.zeros(1, 3, made**2, made**2)
    model = Made(lambda m, x: x + m.table, table=table)
    meaning = best(model, *scores.shape)
    assert meaning.kind == "attention"
    assert f"Scores of {side}×{side} = {side**2} tokens" in meaning.sentence
    assert f"from (2·{made}−1)² = {(2 * made - 1) ** 2} to" in meaning.fixes[2]
    assert f"(2·{side}−1)² = {(2 * side - 1) ** 2} entries" in meaning.fixes[2]


def test_two_maps_of_square_sides_are_no_scores() -> None:
    """Both have the batch and the channels that maps have."""
    model = Made(lambda m, x: x + F.max_pool2d(x, 4))
    assert best(model, 2, 8, 64, 64).kind == "map size"


@pytest.mark.parametrize("count", [0, 1])
def test_more_windows_in_the_mask_than_came(count: int) -> None:
    """The windows of the map are divided by those of the mask, and 4 // 16 is 0."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return x.view(len(x) // m.windows, m.windows, 3, 16, 16)

    model = Made(forward)
    model.windows = 16 if count == 0 else 4
    if count:
        assert run(model, 4, 3, 16, 16).failure is None
        return
    meaning = best(model, 4, 3, 16, 16)
    assert meaning.kind == "empty"
    assert "fewer windows than the 16 that the mask was made for, 4," in meaning.sentence


@pytest.mark.parametrize("windows", [9, 16])
def test_a_mask_for_another_number_of_windows(windows: int) -> None:
    """As in Swin, whose mask is made once: 16 = 4·4 windows of 7·7 tokens."""
    model = Made(lambda m, x: x.view(-1, 16, 3, 49, 49))
    if windows == 16:
        assert run(model, windows, 3, 49, 49).failure is None
        return
    meaning = best(model, windows, 3, 49, 49)
    assert meaning.kind == "windows"
    assert "9 = 3×3 windows of scores came, and the mask was made for 16 = 4×4" in meaning.sentence


@pytest.mark.parametrize(("count", "made"), [(17, 10), (16, 9), (12, 20)])
def test_a_mask_of_pytorch_s_attention_is_never_a_map(count: int, made: int) -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=m.mask)

    model = Made(forward, mask=torch.zeros(1, 1, made, made))
    kinds = {each.kind for each in run(model, 1, 2, count, 8).explanations}
    assert kinds == {"attention"}
    model.mask = nn.Parameter(torch.zeros(1, 1, count, count))
    assert run(model, 1, 2, count, 8).failure is None


def test_a_table_of_a_map_is_no_other_path() -> None:
    """As in PiT: the table is (1, channels, rows, columns), and no call has made it."""
    model = Made(lambda m, x: m.stem(x) + m.table, stem=cut(), table=torch.zeros(1, WIDTH, 6, 6))
    meaning = best(model, 1, 3, 64, 64)
    assert meaning.kind == "position table"
    expression = re.search(r"F\.interpolate\(table.*\)", meaning.fixes[1])
    assert expression
    model.table = nn.Parameter(eval(expression[0], {"F": F, "table": model.table}))
    assert run(model, 1, 3, 64, 64).failure is None
    two_paths = Made(lambda m, x: m.stem(x) + F.avg_pool2d(m.stem(x), 2), stem=cut())
    assert best(two_paths, 1, 3, 64, 64).kind == "map size"


@pytest.mark.parametrize("side", [5, 4])
def test_relative_positions_beyond_their_table(side: int) -> None:
    """A side of 4 has 2·4 − 1 = 7 relative positions, a side of 5 has 9."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[-1])
        return m.table[at[:, None] - at[None] + x.shape[-1] - 1]

    model = Made(forward, table=torch.zeros(7, 8))
    if side == 4:
        assert run(model, 1, side).failure is None
        return
    meaning = best(model, 1, side)
    assert meaning.kind == "table length"
    assert "7 = 2·4 − 1: a side of 4" in meaning.sentence


def test_ids_beyond_an_embedding_name_its_length() -> None:
    model = Made(lambda m, x: m.places(torch.arange(64)), places=nn.Embedding(50, 8))
    meaning = best(model, 1, 3, 64, 64)
    assert meaning.numbers["table"] == 50


# ---- linear layers ---------------------------------------------------------------------------


def test_a_flattened_map_of_another_size_is_pooled() -> None:
    head = nn.Linear(WIDTH * 7 * 7, 10)
    model = Made(
        lambda m, x: m.head(m.pool(m.stem(x)).flatten(1)), stem=cut(), head=head, pool=nn.Identity()
    )
    meaning = best(model, 1, 3, 64, 64)
    assert meaning.kind == "places"
    assert "16·7×7" in meaning.sentence
    assert "16·8×8" in meaning.sentence
    model.pool = eval(re.findall(r"nn\.\w+\(.*\)", meaning.fixes[0])[0], {"nn": nn})
    assert run(model, 1, 3, 64, 64).failure is None


@pytest.mark.parametrize("axis", [1, 2])
def test_a_flattened_image_is_cut(axis: int) -> None:
    """All of it in one row, or each channel in one."""
    model = Made(lambda m, x: m.proj(m.cut(x)), proj=nn.Linear(192, 8))
    model.cut = Made(lambda m, x: x.flatten(axis))
    meaning = best(model, 1, 3, 224, 224)
    assert meaning.kind == "cut"
    assert not any("Linear(150528" in fix or "Linear(50176" in fix for fix in meaning.fixes)
    expression = re.search(r"rearrange\(.*\)", meaning.fixes[0])
    assert expression
    names = {"rearrange": rearrange}
    model.cut = Made(lambda m, x: eval(expression[0], {**names, "image": x}))
    assert run(model, 1, 3, 224, 224).failure is None


@pytest.mark.parametrize("kind", ["Linear", "LayerNorm"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_map_of_other_channels_is_turned_and_the_layer_built_for_them(
    kind: str, flat: bool
) -> None:
    """No layer is built for the 7 columns or the 49 places of a map."""
    layer: nn.Module = nn.Linear(80, 10) if kind == "Linear" else nn.LayerNorm(80)
    model = Made(
        lambda m, x: m.layer(m.turn(m.stem(x))),
        stem=cut(8, 64),
        layer=layer,
        turn=nn.Flatten(2) if flat else nn.Identity(),
    )
    meaning = best(model, 2, 3, 56, 56)
    assert not re.search(r"Linear\((7|49),|LayerNorm\((7|49)\)", " ".join(meaning.fixes))
    built = re.findall(r"(?:Linear|LayerNorm)\([\d, ]+\)", meaning.fixes[0])[0]
    model.layer, model.turn = eval(f"nn.{built}", {"nn": nn}), Made(lambda m, x: tokens(x))
    assert run(model, 2, 3, 56, 56).failure is None


def test_the_mean_over_the_wrong_axis() -> None:
    model = Made(lambda m, x: m.head(tokens(m.stem(x)).mean(m.axis)), stem=cut(8, 64))
    model.head, model.axis = nn.Linear(64, 10), 2
    meaning = best(model, 1, 3, 56, 56)
    assert meaning.kind == "pool"
    assert "49 = 7×7" in meaning.sentence
    model.axis = int(re.findall(r"x\.mean\((\d)\)", meaning.fixes[0])[0])
    assert run(model, 1, 3, 56, 56).failure is None


# ---- videos and sequences --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 3, 16, 16), (1, 4, 16, 16, 3)])
def test_a_video_whose_channels_are_not_second(shape: tuple[int, ...]) -> None:
    model = Made(
        lambda m, x: m.stem(m.turn(x)),
        stem=nn.Conv3d(3, 8, (2, 8, 8), (2, 8, 8)),
        turn=nn.Identity(),
    )
    meaning = best(model, *shape)
    order = re.findall(r"permute\(([\d, ]+)\)", meaning.fixes[0])[0]
    model.turn = Made(lambda m, x: x.permute(*map(int, order.split(", "))))
    report = run(model, *shape)
    assert report.failure is None
    assert report.outputs[0].shape == (1, 8, 2, 2, 2)


def test_a_video_is_counted_in_frames_and_not_in_pixels() -> None:
    """8 frames in tubelets of 2 are 4·2·2 = 16 tokens, and the table has 8·2·2 + 0."""
    model = Made(
        lambda m, x: tokens(m.stem(x)) + m.table,
        stem=nn.Conv3d(3, WIDTH, (2, 16, 16), (2, 16, 16)),
        table=torch.zeros(1, 8 * 14 * 14, WIDTH),
    )
    report = run(model, 1, 3, 8, 224, 224)
    (meaning,) = report.explanations
    assert meaning.kind == "frames"
    assert "4 frames, or tubelets, of 14×14 tokens against 8" in meaning.sentence
    frames, given = re.findall(r"(\d+) frames instead of (\d+)", meaning.fixes[0])[0]
    assert given == "8"
    assert run(model, 1, 3, int(frames), 224, 224).failure is None


def test_a_spectrogram_has_the_grid_of_its_map() -> None:
    """100 of 4 pixels a side are 5·25 places; the table may be 5·40 + 2."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        t = tokens(m.stem(x.unsqueeze(1)))
        return torch.cat([m.cls, t], 1) + m.pos_embed

    parts = {"cls": torch.zeros(1, 2, 8), "pos_embed": torch.zeros(1, 5 * 40 + 2, 8)}
    model = Made(forward, stem=nn.Conv2d(1, 8, 4, 4), **parts)
    found = run(model, 1, 20, 100).explanations
    assert all("127 = 5×25 + 2 tokens came" in meaning.sentence for meaning in found)
    assert any("202 = 5×40 + 2" in meaning.sentence for meaning in found)
    for meaning in found:
        made = meaning.numbers["table_image_height"], meaning.numbers["table_image_width"]
        if meaning.numbers["table_prefix_tokens"] == 2:
            assert run(model, 1, *made).failure is None


def test_tokens_in_a_convolution_along_the_sequence() -> None:
    model = Made(lambda m, x: m.mix(m.turn(x)), mix=nn.Conv1d(32, 8, 3), turn=nn.Identity())
    assert best(model, 1, 49, 32).kind == "transpose"
    model.turn = Made(lambda m, x: x.transpose(1, 2))
    assert run(model, 1, 49, 32).failure is None


def test_a_map_in_a_convolution_along_the_sequence() -> None:
    model = Made(lambda m, x: m.mix(m.turn(x)), mix=nn.Conv1d(32, 8, 3), turn=nn.Identity())
    assert "x.flatten(2)" in best(model, 1, 32, 7, 7).fixes[0]
    model.turn = nn.Flatten(2)
    assert run(model, 1, 32, 7, 7).failure is None


# ---- nothing, and what is not known ----------------------------------------------------------


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.stem(x[:, 3:]),
        lambda m, x: tokens(m.stem(x)) + torch.zeros(1, 64, 16)[:, :0],
        lambda m, x: torch.cat([m.stem(x), m.stem(x)[:, :, :0]], 1),
        lambda m, x: torch.cat([block for block in ()]),
        lambda m, x: torch.stack([block for block in ()]),
        lambda m, x: F.interpolate(x, size=(64 // 100, 64 // 100)),
        lambda m, x: m.stem(x).reshape(len(x) // 2, 64, 16),
        lambda m, x: F.max_pool2d(x[:, :, :0], 2),
        lambda m, x: F.layer_norm(tokens(x)[..., :0], (3,)),
        lambda m, x: F.linear(tokens(x)[..., :0], torch.zeros(5, 3)),
        lambda m, x: tokens(x)[:, :0].max(1)[0],
        lambda m, x: x[:, :, :0].reshape(0, -1),
        lambda m, x: m.stem(x[:, :, :0]),
        lambda m, x: x[:, :, :0].reshape(1, 12),
    ],
)
def test_an_axis_of_0_is_told_as_that_and_no_layer_is_built_for_it(
    forward: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    meaning = best(Made(forward, stem=cut()), 1, 3, 64, 64)
    assert meaning.kind == "empty"
    assert not re.search(r"in_channels=0|Linear\(|LayerNorm\(|\b0×0", " ".join(meaning.fixes))
    assert meaning.likelihood != "certain"


def test_where_nothing_agrees_with_the_run_that_is_said() -> None:
    """Two lengths of which the run's own map makes neither, and no grid is usual."""
    model = Made(lambda m, x: tokens(m.stem(x))[:, :37] + torch.zeros(1, 53, WIDTH), stem=cut())
    (meaning, *others) = run(model, 1, 3, 64, 64).explanations
    assert (meaning.kind, meaning.likelihood) == ("not known", "possible")
    assert "37" in meaning.sentence
    assert "53" in meaning.sentence
    assert others == []


def test_an_error_of_the_module_s_own_is_not_explained() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        m.stem(rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=4, q=4))
        raise ValueError("later, for a reason of its own")

    assert run(Made(forward, stem=nn.Conv2d(48, 16, 1)), 1, 3, 64, 64).explanations == ()


def test_a_failing_rule_of_the_decoder_leaves_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.delenv("VITC_STRICT_RULES", raising=False)
    monkeypatch.setattr("vitc_inspect.inspection.module_report.explain_error", fails)
    report = run(embedding(50), 1, 3, 64, 64)
    assert report.failure is not None
    assert report.explanations == ()


# ---- assertions beside what the run shows ------------------------------------------------------


def asserts(message: str, axis: int, wanted: int) -> Callable[[nn.Module, Tensor], Tensor]:
    """A forward that asserts a size of the map behind its first layer, as a model's would."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = self.first(x)
        assert x.shape[axis] == wanted, message.format(x.shape[axis], wanted)
        return x

    return forward


HEIGHT = "Input height ({}) doesn't match model ({})."
PIXELS = (
    "Make sure that the channel dimension of the pixel values match with the one set in the"
    " configuration. Expected {1} but got {0}."
)


def test_a_stage_that_calls_its_map_an_image_is_told_from_the_image() -> None:
    """2·112 = 224 and 2·128 = 256: the run shows that 128 is the map."""
    stage = Made(asserts(HEIGHT, 2, 112), first=nn.Conv2d(3, 8, 7, 2, 3))
    (only,) = run(stage, 1, 3, 256, 256).explanations
    assert "A map inside the model has a height of 128 places" in only.sentence
    assert only.fixes[0] == "Resize the image to 224×224 pixels."
    assert run(stage, 1, 3, 224, 224).failure is None
    whole = Made(asserts(HEIGHT, 2, 112), first=nn.Identity())
    (image,) = run(whole, 1, 3, 128, 128).explanations
    assert (image.likelihood, image.numbers["side"]) == ("certain", 128)


@pytest.mark.parametrize(
    ("shape", "kind", "fix"),
    [
        ((3, 24, 24), "batch", "image.unsqueeze(0)"),
        ((24, 20, 3), "batch", "image.permute(2, 0, 1).unsqueeze(0)"),
        ((1, 24, 24, 3), "channels last", "image.permute(0, 3, 1, 2)"),
        ((2, 8, 3, 24, 24), "channels", "video.flatten(0, 1)"),
        ((1, 1, 24, 24), "channels", "image.expand(-1, 3, -1, -1)"),
        ((1, 4, 24, 24), "channels", "image[:, :3]"),
    ],
)
def test_channels_that_a_model_refuses_are_told_by_the_axes_of_the_image(
    shape: tuple[int, ...], kind: str, fix: str
) -> None:
    model = Made(asserts(PIXELS, 1, 3), first=nn.Identity())
    image = torch.zeros(shape)
    first = run(model, *shape).explanations[0]
    assert first.kind == kind
    assert fix in first.fixes[0]
    mended = eval(fix, {"image": image, "video": image})
    assert model(mended).shape[1] == 3


def test_a_mask_for_the_patches_of_another_image() -> None:
    """64·64 pixels are 8·8 patches of 8, and the mask has 6·6 = 36."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = tokens(self.stem(x))
        mask = self.mask[..., None]
        return x * (1 - mask) + self.mask_token * mask

    model = Made(forward, stem=cut(), mask=torch.zeros(1, 36), mask_token=torch.zeros(1, 1, WIDTH))
    first = best(model, 1, 3, 64, 64)
    assert (first.kind, first.numbers["tokens"], first.numbers["mask"]) == ("mask", 64, 36)
    model.mask = nn.Parameter(torch.zeros(1, first.numbers["tokens"]))
    assert run(model, 1, 3, 64, 64).failure is None


@pytest.mark.parametrize(
    ("sides", "says"),
    [
        ((32, 32, 32), "64 = 4×4×4 and 216 = 6×6×6"),
        ((48, 48, 32), "6×6×4 places came, 144 tokens, and the position table has 216"),
    ],
)
def test_a_volume_is_counted_in_three_dimensions(sides: tuple[int, ...], says: str) -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return tokens(self.stem(x)) + self.pos_embed

    model = Made(forward, stem=nn.Conv3d(1, 8, 8, 8), pos_embed=torch.zeros(1, 216, 8))
    first = best(model, 1, 1, *sides)
    assert first.kind == "volume"
    assert says in first.sentence
    assert run(model, 1, 1, 48, 48, 48).failure is None
