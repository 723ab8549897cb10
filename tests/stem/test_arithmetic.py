"""The formulas against tables of the field, arithmetic done by hand, and PyTorch itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem import arithmetic

windows = st.fixed_dictionaries(
    {
        "kernel_size": st.integers(1, 9),
        "stride": st.integers(1, 11),
        "padding": st.integers(0, 8),
        "dilation": st.integers(1, 5),
    }
)


def walk(size: int, *layers: tuple[int, int, int]) -> int:
    """The side after layers of (kernel, stride, padding)."""
    for kernel_size, stride, padding in layers:
        size = arithmetic.output_size(size, kernel_size=kernel_size, stride=stride, padding=padding)
    return size


def pixels_read(size: int, **window: int) -> torch.Tensor:
    """Whether any window position of PyTorch's convolution answers to each pixel alone."""
    one_pixel_each = torch.eye(size)[:, None]
    ones = torch.ones(1, 1, window.pop("kernel_size"))
    return F.conv1d(one_pixel_each, ones, **window).abs().sum(dim=(1, 2)) > 0


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "window"),
    [(1, 1, 1), (1, 5, 1), (3, 1, 3), (3, 2, 5), (3, 3, 7), (7, 2, 13), (16, 1, 16)],
)
def test_a_window_reaches_from_its_first_tap_to_its_last(
    kernel_size: int, dilation: int, window: int
) -> None:
    assert arithmetic.window_size(kernel_size=kernel_size, dilation=dilation) == window


@pytest.mark.parametrize(
    ("side", "patchify", "padded", "unpadded"),
    [  # FACTS 4.10
        (224, 14, 14, 13),
        (225, 14, 15, 13),
        (223, 13, 14, 13),
        (230, 14, 15, 13),
    ],
)
def test_three_stems_of_stride_16_round_differently(
    side: int, patchify: int, padded: int, unpadded: int
) -> None:
    assert walk(side, (16, 16, 0)) == patchify
    assert walk(side, *[(3, 2, 1)] * 4) == padded
    assert walk(side, *[(3, 2, 0)] * 4) == unpadded


@pytest.mark.parametrize(
    ("side", "layer", "out"),
    [
        (224, (3, 2, 1), (224 + 2 - 3) // 2 + 1),  # 223 / 2 is 111.5, rounded down, plus 1: 112
        (224, (16, 8, 0), 27),  # PiT: (224 - 16) / 8 + 1, and not 224 / 8 = 28
        (224, (7, 4, 3), 56),  # PVTv2: (224 + 6 - 7) / 4 is 55.75
        (256, (16, 16, 2), 16),  # ViTPose: (256 + 4 - 16) / 16 is 15.25
        (1, (1, 1, 0), 1),
        (1, (3, 1, 1), 1),
        (5, (1, 5, 0), 1),
        (6, (1, 5, 0), 2),
    ],
)
def test_output_size_by_hand(side: int, layer: tuple[int, int, int], out: int) -> None:
    assert walk(side, layer) == out


def test_output_size_of_a_dilated_kernel_by_hand() -> None:
    # The window spans 3 * (3 - 1) + 1 = 7 pixels: (20 + 2 - 7) / 2 is 7.5.
    assert arithmetic.output_size(20, kernel_size=3, stride=2, padding=1, dilation=3) == 8


@settings(deadline=None, derandomize=True, max_examples=300)
@given(size=st.integers(1, 40), window=windows)
def test_output_size_and_unread_positions_are_those_of_torch(
    size: int, window: dict[str, int]
) -> None:
    if window["dilation"] * (window["kernel_size"] - 1) + 1 > size + 2 * window["padding"]:
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            pixels_read(size, **window)
        with pytest.raises(SpecError) as caught:
            arithmetic.output_size(size, **window)
        with pytest.raises(SpecError) as same:
            arithmetic.unread_positions(size, **window)
        assert str(same.value) == str(caught.value)
        return
    across = {name: (0 if name == "padding" else 1, pixels) for name, pixels in window.items()}
    unfolded = F.unfold(torch.zeros(1, 1, 1, size), **across)
    assert arithmetic.output_size(size, **window) == unfolded.shape[-1]
    unread = torch.nonzero(~pixels_read(size, **window)).flatten().tolist()
    assert arithmetic.unread_positions(size, **window) == tuple(unread)


@pytest.mark.parametrize(
    ("size", "window", "unread"),
    [
        (224, {"kernel_size": 16, "stride": 16, "padding": 0}, ()),
        (225, {"kernel_size": 16, "stride": 16, "padding": 0}, (224,)),
        (223, {"kernel_size": 16, "stride": 16, "padding": 0}, tuple(range(13 * 16, 223))),
        (230, {"kernel_size": 16, "stride": 16, "padding": 0}, (224, 225, 226, 227, 228, 229)),
        (256, {"kernel_size": 16, "stride": 16, "padding": 2}, (254, 255)),  # ViTPose
        (6, {"kernel_size": 1, "stride": 2, "padding": 0}, (1, 3, 5)),
        (6, {"kernel_size": 2, "stride": 3, "padding": 0}, (2, 5)),
        # Taps at 0, 2 and 4, windows 4 apart: no odd pixel is ever under a tap.
        (9, {"kernel_size": 3, "stride": 4, "padding": 0, "dilation": 2}, (1, 3, 5, 7)),
        # The only window lies on the padding before the image.
        (1, {"kernel_size": 1, "stride": 3, "padding": 1}, (0,)),
    ],
)
def test_unread_positions_by_hand(
    size: int, window: dict[str, int], unread: tuple[int, ...]
) -> None:
    assert arithmetic.unread_positions(size, **window) == unread


@pytest.mark.parametrize(
    ("strides", "field"),
    [  # FACTS 1: the same six 3×3 convolutions and total stride 16, in four orders
        ((1, 1, 2, 2, 2, 2), 35),
        ((2, 1, 2, 1, 2, 2), 43),
        ((2, 2, 1, 2, 1, 2), 55),
        ((2, 2, 2, 2, 1, 1), 95),
    ],
)
def test_the_order_of_strides_alone_changes_the_receptive_field(
    strides: tuple[int, ...], field: int
) -> None:
    seen = jump = 1
    for stride in strides:
        seen = arithmetic.receptive_field(seen, jump, kernel_size=3)
        jump *= stride
    assert seen == field
    assert jump == 16
    assert walk(224, *((3, stride, 1) for stride in strides)) == 14


@pytest.mark.parametrize(
    ("field", "jump", "kernel_size", "dilation", "grown"),
    [
        (1, 1, 16, 1, 16),  # patchify sees its patch
        (1, 1, 1, 4, 1),  # one tap sees no further, however dilated
        (3, 2, 3, 1, 3 + 2 * 2),
        (15, 8, 3, 1, 15 + 2 * 8),
        (7, 4, 3, 3, 7 + 6 * 4),
    ],
)
def test_receptive_field_by_hand(
    field: int, jump: int, kernel_size: int, dilation: int, grown: int
) -> None:
    assert (
        arithmetic.receptive_field(field, jump, kernel_size=kernel_size, dilation=dilation) == grown
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3
    )
)
def test_an_image_as_long_as_the_receptive_field_is_seen_from_end_to_end(
    layers: list[tuple[int, int, int]],
) -> None:
    field = jump = 1
    for kernel_size, stride, dilation in layers:
        field = arithmetic.receptive_field(field, jump, kernel_size=kernel_size, dilation=dilation)
        jump *= stride
    answers = torch.eye(field)[:, None]
    for kernel_size, stride, dilation in layers:
        ones = torch.ones(1, 1, kernel_size)
        answers = F.conv1d(answers, ones, stride=stride, dilation=dilation)
    assert answers.shape[-1] == 1
    assert answers[0].item() > 0
    assert answers[-1].item() > 0


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    groups=st.integers(1, 4),
    in_multiple=st.integers(1, 4),
    out_multiple=st.integers(1, 4),
    kernel_size=st.integers(1, 4),
    bias=st.booleans(),
    side=st.integers(4, 9),
)
def test_params_and_macs_are_those_of_torch(
    groups: int, in_multiple: int, out_multiple: int, kernel_size: int, bias: bool, side: int
) -> None:
    in_channels, out_channels = groups * in_multiple, groups * out_multiple
    module = torch.nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups, bias=bias)
    with FlopCounterMode(display=False) as counter:
        out = module(torch.zeros(1, in_channels, side, side + 1))
    assert arithmetic.conv_params(
        in_channels, out_channels, kernel_size=kernel_size, groups=groups, bias=bias
    ) == sum(p.numel() for p in module.parameters())
    # FlopCounterMode counts a multiplication and an addition as two.
    assert (
        2
        * arithmetic.conv_macs(
            in_channels, tuple(out.shape[1:]), kernel_size=kernel_size, groups=groups
        )
        == counter.get_total_flops()
    )


def test_params_and_macs_of_the_field() -> None:
    # FACTS 3: one convolution 3→24, k3 s2 p1, on 224²; fvcore and thop say 8,128,512.
    assert arithmetic.conv_macs(3, (24, 112, 112), kernel_size=3, groups=1) == 8_128_512
    # FACTS 1: the patchify stems.
    for width, params in ((192, 147_648), (384, 295_296), (768, 590_592), (1024, 787_456)):
        counted = arithmetic.conv_params(3, width, kernel_size=16, groups=1, bias=True)
        assert counted == params == width * (3 * 16 * 16) + width


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm2d, torch.nn.LayerNorm])
def test_norm_params_are_those_of_torch(norm: type[torch.nn.Module]) -> None:
    assert arithmetic.norm_params(48) == sum(p.numel() for p in norm(48).parameters())


@pytest.mark.parametrize(
    ("size", "window", "message", "largest"),
    [
        (
            8,
            {"kernel_size": 9, "padding": 0},
            "kernel_size = 9: the padded input is only 8 pixels long. Use 8 or less.",
            8,
        ),
        (
            6,
            {"kernel_size": 9, "padding": 1},
            "kernel_size = 9: the padded input is only 8 pixels long. Use 8 or less.",
            8,
        ),
        (
            1,
            {"kernel_size": 2, "padding": 0},
            "kernel_size = 2: the padded input is only 1 pixel long. Use 1.",
            1,
        ),
        (
            6,
            {"kernel_size": 5, "padding": 1, "dilation": 2},
            "kernel_size = 5: the window spans 9 pixels and the padded input is only 8 pixels "
            "long. Use 4 or less.",
            4,  # 2 * (4 - 1) + 1 = 7 pixels; the next spans 9
        ),
        (
            3,
            {"kernel_size": 2, "padding": 0, "dilation": 3},
            "kernel_size = 2: the window spans 4 pixels and the padded input is only 3 pixels "
            "long. Use 1.",
            1,
        ),
    ],
)
def test_a_window_longer_than_the_padded_input(
    size: int, window: dict[str, int], message: str, largest: int
) -> None:
    with pytest.raises(SpecError) as caught:
        arithmetic.output_size(size, stride=2, **window)
    assert str(caught.value) == message
    assert caught.value.field == "kernel_size"
    assert caught.value.value == window["kernel_size"]
    assert caught.value.suggestion == largest
    assert arithmetic.output_size(size, stride=2, **{**window, "kernel_size": largest}) >= 1


@settings(deadline=None, derandomize=True, max_examples=200)
@given(size=st.integers(1, 12), window=windows, taps=st.integers(1, 40))
def test_the_suggested_kernel_is_the_largest_that_fits(
    size: int, window: dict[str, int], taps: int
) -> None:
    window["kernel_size"] = taps
    try:
        assert arithmetic.output_size(size, **window) >= 1
    except SpecError as error:
        largest = error.suggestion
        assert arithmetic.output_size(size, **{**window, "kernel_size": largest}) >= 1
        with pytest.raises(SpecError):
            arithmetic.output_size(size, **{**window, "kernel_size": largest + 1})
