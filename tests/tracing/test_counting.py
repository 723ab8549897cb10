"""MACs counted from a run, held against torch's own counter and against torchinfo."""

from __future__ import annotations

import pytest
import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitc_inspect.model.modules import ChannelNorm, ClassToken, PositionTable, build_stem
from vitc_inspect.stem.spec import conv_stem
from vitc_inspect.tracing.counting import count_macs

CONVS = [
    # in, out, kernel, stride, padding, dilation, groups
    (3, 24, 3, 2, 1, 1, 1),
    (3, 16, 16, 16, 0, 1, 1),
    (8, 12, 1, 1, 0, 1, 1),
    (8, 12, 3, 1, 1, 1, 4),
    (6, 6, 5, 2, 2, 1, 6),
    (4, 10, 3, 1, 2, 2, 2),
    (4, 8, (2, 5), (1, 3), (0, 1), (2, 1), 2),
]


def conv(case, *, bias):
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups = case
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
    )


def macs_of_torch(module, *inputs):
    """Half the floating-point operations that torch counts in a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CONVS)
def test_a_convolution_counts_as_torch_counts_it(case, bias, batch):
    module = conv(case, bias=bias)
    images = torch.zeros(batch, case[0], 33, 40)
    assert count_macs(module, images.shape, module(images).shape) == macs_of_torch(module, images)


@pytest.mark.parametrize("case", CONVS)
def test_a_convolution_without_bias_counts_as_torchinfo_counts_it(case):
    module = conv(case, bias=False)
    images = torch.zeros(2, case[0], 33, 40)
    summary = torchinfo.summary(module, input_data=images, verbose=0)
    assert count_macs(module, images.shape, module(images).shape) == summary.total_mult_adds


def test_the_bias_is_left_out_that_torchinfo_counts():
    module, images = nn.Conv2d(3, 24, 3, 2, 1), torch.zeros(1, 3, 224, 224)
    macs = count_macs(module, images.shape, module(images).shape)
    assert macs == 8_128_512  # fvcore and thop, as FACTS.md quotes them
    summary = torchinfo.summary(module, input_data=images, verbose=0)
    assert summary.total_mult_adds == 8_429_568 == macs + 24 * 112 * 112


@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_counts_every_token(shape, bias):
    module, tokens = nn.Linear(5, 11, bias), torch.zeros(shape)
    assert count_macs(module, tokens.shape, module(tokens).shape) == macs_of_torch(module, tokens)
    assert count_macs(module, tokens.shape, module(tokens).shape) == tokens.numel() * 11


def test_a_stem_without_bias_and_norm_counts_the_same_in_all_three():
    module = build_stem(conv_stem((8, 16), embed_dim=8, image_size=32, norm="none"))
    for name in ("conv1", "conv2", "proj"):
        getattr(module, name).bias = None
    images, ours = torch.zeros(1, 3, 32, 32), 0
    values = images
    for layer in module:
        given, values = values, layer(values)
        ours += count_macs(layer, given.shape, values.shape)
    whole = macs_of_torch(module, images)
    convs = torchinfo.summary(module[:5], input_data=images, verbose=0).total_mult_adds
    assert ours == whole == convs
    assert ours == 8 * 16 * 16 * 27 + 16 * 8 * 8 * 72 + 8 * 8 * 8 * 16


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.ReLU(), (1, 4, 5, 5)),
        (nn.GELU(), (1, 4, 5, 5)),
        (nn.Flatten(), (1, 4, 5, 5)),
        (nn.MaxPool2d(2), (1, 4, 6, 6)),
        (nn.BatchNorm2d(4), (1, 4, 5, 5)),
        (nn.BatchNorm2d(4, affine=False), (1, 4, 5, 5)),
        (nn.LayerNorm(5), (1, 4, 5, 5)),
        (ChannelNorm(4), (1, 4, 5, 5)),
        (ClassToken(6), (1, 9, 6)),
        (PositionTable(9, 6), (1, 9, 6)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_moving_scaling_and_adding_count_nothing(module, shape):
    assert count_macs(module, shape, module(torch.zeros(shape)).shape) == 0


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.PReLU(), (1, 4, 5, 5)),
        (nn.GroupNorm(1, 4), (1, 4, 5, 5)),
        (nn.ConvTranspose2d(4, 3, 2), (1, 4, 5, 5)),
        (nn.Conv1d(4, 3, 2), (1, 4, 5)),
        (nn.Conv3d(4, 3, 2), (1, 4, 5, 5, 5)),
        (nn.Sequential(nn.Conv2d(4, 3, 2)), (1, 4, 5, 5)),
        (nn.TransformerEncoderLayer(4, 1, 8), (1, 6, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_module_with_parameters_and_no_formula_is_not_counted_as_nothing(module, shape):
    assert count_macs(module, shape, module(torch.zeros(shape)).shape) is None
