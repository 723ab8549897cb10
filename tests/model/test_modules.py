"""The built module is the described stem: every field, every name, every weight's origin."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import ChannelNorm, build_stem, build_vit
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_layer, conv_stem, patchify_stem
from vitc_inspect.stem.vit import ViTSpec

LAYER = conv_layer(8, 3, 2, norm="batch", activation="relu")


def stem(layer=LAYER, *, class_token=True, image_size=(20, 24), in_channels=4):
    return StemSpec(
        image_size=image_size,
        in_channels=in_channels,
        convs=(layer, conv_layer(6, 1)),
        class_token=class_token,
    )


def build(layer=LAYER, **beside):
    return build_stem(stem(layer, **beside))


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("out_channels", 12, "out_channels", 12),
        ("kernel_size", 5, "kernel_size", (5, 5)),
        ("stride", 3, "stride", (3, 3)),
        ("padding", 0, "padding", (0, 0)),
        ("padding", 2, "padding", (2, 2)),
        ("dilation", 2, "dilation", (2, 2)),
        ("groups", 4, "groups", 4),
    ],
)
def test_a_field_of_the_layer_reaches_the_convolution(field, value, attribute, expected):
    assert getattr(build().conv1, attribute) != expected
    assert getattr(build(replace(LAYER, **{field: value})).conv1, attribute) == expected


@pytest.mark.parametrize("bias", [True, False])
def test_the_bias_is_there_exactly_when_asked_for(bias):
    assert (build(replace(LAYER, bias=bias)).conv1.bias is not None) == bias


def test_the_weight_has_the_shape_of_channels_groups_and_kernel():
    layer = replace(LAYER, kernel_size=5, groups=2)
    assert build(layer).conv1.weight.shape == (8, 4 // 2, 5, 5)


@pytest.mark.parametrize(
    ("norm", "module"), [("batch", nn.BatchNorm2d), ("layer", ChannelNorm), ("none", None)]
)
def test_each_norm_reaches_the_module(norm, module):
    children = dict(build(replace(LAYER, norm=norm)).named_children())
    assert type(children.get("norm1")) is (module or type(None))
    if module:
        assert children["norm1"].weight.shape == children["norm1"].bias.shape == (8,)


@pytest.mark.parametrize(
    ("activation", "module"),
    [
        ("relu", nn.ReLU),
        ("gelu", nn.GELU),
        ("silu", nn.SiLU),
        ("hardswish", nn.Hardswish),
        ("none", None),
    ],
)
def test_each_activation_reaches_the_module(activation, module):
    children = dict(build(replace(LAYER, activation=activation)).named_children())
    assert type(children.get("act1")) is (module or type(None))


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (LAYER, "conv1 norm1 act1"),
        (replace(LAYER, norm="none"), "conv1 act1"),
        (replace(LAYER, activation="none"), "conv1 norm1"),
        (replace(LAYER, norm="none", activation="none"), "conv1"),
    ],
)
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("table", [True, False])
def test_the_modules_stand_in_the_order_of_the_forward_pass(layer, names, class_token, table):
    tail = ["class_token"] * class_token + ["pos_embed"] * table
    spec = replace(stem(layer, class_token=class_token), position_table=table)
    children = [name for name, _ in build_stem(spec).named_children()]
    assert children == [*names.split(), "proj", "tokens", *tail]


def test_norm_and_activation_of_the_last_layer_carry_its_name():
    spec = StemSpec(image_size=(8, 8), convs=(conv_layer(4, 3, norm="layer", activation="gelu"),))
    children = [name for name, _ in build_stem(spec).named_children()]
    assert children == ["proj", "proj_norm", "proj_act", "tokens", "class_token", "pos_embed"]


@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_the_first_convolution_takes_the_channels_of_the_image(in_channels):
    module = build_stem(conv_stem((4,), embed_dim=6, image_size=16, in_channels=in_channels))
    assert module.conv1.in_channels == in_channels
    assert module(torch.zeros(1, in_channels, 16, 16)).shape == (1, 8 * 8 + 1, 6)


@pytest.mark.parametrize("image_size", [(16, 16), (16, 33), (17, 40)])
def test_the_position_table_has_a_row_for_each_token_of_the_image_size(image_size):
    spec = patchify_stem(8, 5, image_size=image_size)
    rows = (image_size[0] // 8) * (image_size[1] // 8) + 1
    assert build_stem(spec).pos_embed.table.shape == (1, rows, 5)


@pytest.mark.parametrize("class_token", [True, False])
def test_the_class_token_comes_first_and_only_when_asked_for(class_token):
    module = build(class_token=class_token)
    nn.init.zeros_(module.pos_embed.table)
    if class_token:
        nn.init.constant_(module.class_token.token, 7.0)
    tokens = module(torch.randn(2, 4, 20, 24))
    assert tokens.shape == (2, 10 * 12 + class_token, 6)
    assert bool((tokens[:, 0] == 7.0).all()) == class_token
    assert not (tokens[:, class_token:] == 7.0).any()


def test_the_position_table_is_added_to_each_image_of_a_batch():
    module = build()
    images = torch.randn(3, 4, 20, 24)
    with torch.no_grad():
        placed = module(images)
        nn.init.zeros_(module.pos_embed.table)
        bare = module(images)
    table = build().pos_embed.table
    assert torch.allclose(placed - bare, table.expand(3, -1, -1), atol=1e-6)
    assert table.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_same_seed_gives_the_same_weights():
    first, second = (build_stem(stem(), seed=11).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["conv1.weight", "proj.weight", "proj.bias", "pos_embed.table"])
def test_another_seed_gives_other_weights(name):
    weights = [build_stem(stem(), seed=seed).state_dict()[name] for seed in (0, 1, 2**63 - 1)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_weights_do_not_depend_on_what_was_drawn_before():
    torch.rand(3)
    first = build_stem(stem(), seed=5).conv1.weight
    torch.rand(4)
    assert torch.equal(first, build_stem(stem(), seed=5).conv1.weight)


def test_the_global_random_state_is_left_as_it_was():
    before = torch.get_rng_state()
    build_stem(stem(), seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_random_state_of_every_gpu_is_left_as_it_was(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    build_stem(stem(), seed=5)
    assert seeded == []


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "0", True, None])
def test_a_seed_torch_cannot_take_is_refused(seed):
    with pytest.raises(SpecError) as caught:
        build_stem(stem(), seed=seed)
    assert caught.value.field == "seed"
    build_stem(stem(), seed=caught.value.suggestion)


def test_every_module_is_in_evaluation_mode_in_float32_on_the_cpu():
    module = build()
    assert not any(layer.training for layer in module.modules())
    states = module.state_dict()
    states.pop("norm1.num_batches_tracked")
    assert {(value.dtype, value.device.type) for value in states.values()} == {
        (torch.float32, "cpu")
    }


def test_a_fresh_batch_norm_divides_by_the_root_of_one_and_its_epsilon():
    values = torch.randn(2, 8, 5, 5)
    assert torch.allclose(build().norm1(values), values / (1 + 1e-5) ** 0.5, atol=1e-6)


def position_coded(height, width):
    """Two channels: every pixel holds its own row and its own column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns]).float()[None]


@pytest.mark.parametrize(("height", "width"), [(3, 3), (4, 7), (7, 4), (1, 6)])
def test_the_flattening_goes_along_a_row_before_it_goes_down(height, width):
    tokens = build().tokens(position_coded(height, width))[0]
    expected = [(row, column) for row in range(height) for column in range(width)]
    assert [tuple(token) for token in tokens.int().tolist()] == expected


@pytest.mark.parametrize("class_token", [True, False])
def test_the_tokens_of_a_whole_stem_are_in_row_major_order(class_token):
    spec = StemSpec(
        image_size=(12, 20),
        in_channels=2,
        convs=(conv_layer(2, 4, 4, bias=False),),
        class_token=class_token,
    )
    module = build_stem(spec)
    nn.init.zeros_(module.pos_embed.table)
    nn.init.zeros_(module.proj.weight)
    with torch.no_grad():  # each output channel copies the first pixel of the window
        module.proj.weight[0, 0, 0, 0] = module.proj.weight[1, 1, 0, 0] = 1
        tokens = module(position_coded(12, 20))[0, int(class_token) :]
    expected = [(row, column) for row in range(0, 12, 4) for column in range(0, 20, 4)]
    assert [tuple(token) for token in tokens.int().tolist()] == expected


def random_norm(channels):
    """A ChannelNorm with a scale and a shift of its own."""
    norm = ChannelNorm(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize(("height", "width"), [(4, 6), (6, 6), (1, 1)])
def test_channel_norm_normalises_the_channels_of_each_position(height, width):
    norm, maps = random_norm(6), torch.randn(2, 6, height, width)
    normalised = norm(maps)
    assert normalised.shape == maps.shape
    for row in range(height):
        for column in range(width):
            expected = F.layer_norm(maps[:, :, row, column], (6,), norm.weight, norm.bias, norm.eps)
            assert torch.allclose(normalised[:, :, row, column], expected, atol=1e-6)


def test_channel_norm_is_not_a_layer_norm_of_the_width():
    norm, maps = random_norm(6), torch.randn(2, 6, 6, 6)  # square, so that both can run
    across = F.layer_norm(maps, (6,), norm.weight, norm.bias, norm.eps)
    assert not torch.allclose(norm(maps), across, atol=0.1)


@pytest.mark.parametrize(
    ("patch_size", "embed_dim", "image_size"),
    [(16, 32, (64, 48)), (7, 5, (30, 23)), (1, 4, (3, 5))],
)
def test_patchify_is_unfolding_and_a_linear_layer(patch_size, embed_dim, image_size):
    spec = patchify_stem(patch_size, embed_dim, image_size=image_size, class_token=False)
    module = build_stem(spec, seed=3)
    images = torch.randn(2, 3, *image_size)
    patches = F.unfold(images, patch_size, stride=patch_size)  # (b, c p1 p2, n)
    linear = F.linear(
        patches.transpose(1, 2), module.proj.weight.view(embed_dim, -1), module.proj.bias
    )  # (b, n, c p1 p2) -> (b, n, d)
    assert torch.allclose(module(images), linear + module.pos_embed.table, atol=2e-5)


def bend(name):
    """Largest f(a + b) - f(a) - f(b) + f(0) of a preset, beside the largest f(a)."""
    spec = replace(PRESETS[name].stem, image_size=(64, 64))
    module = build_stem(spec)
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 1, 3, 64, 64, generator=generator)
    with torch.no_grad():
        bent = module(a + b) - module(a) - module(b) + module(torch.zeros_like(a))
        return bent.abs().max().item(), module(a).abs().max().item()


@pytest.mark.parametrize("name", ["blog_2021", "vit_p_4gf"])
def test_a_stem_without_norm_and_activation_is_one_affine_map(name):
    bent, size = bend(name)
    assert bent < 1e-5 * size


@pytest.mark.parametrize("name", ["vit_c_4gf", "levit_256", "xcit_s12_16"])
def test_a_stem_with_activations_is_not_an_affine_map(name):
    bent, size = bend(name)
    assert bent > 1e-2 * size


def test_the_seed_gives_the_same_weights_in_every_thread():
    spec = conv_stem(image_size=32)
    with ThreadPoolExecutor(max_workers=4) as threads:
        built = list(threads.map(lambda seed: build_stem(spec, seed=seed), [3, 4] * 12))
    for seed, module in zip([3, 4] * 12, built, strict=True):
        expected = build_stem(spec, seed=seed).state_dict()
        assert all(
            torch.equal(value, expected[name]) for name, value in module.state_dict().items()
        )


# How torchvision's models/vision_transformer.py draws a ViT, in the test's own words and numbers.


def drawn(name, spec, seed=0):
    return build_stem(spec, seed=seed, init="trunc_normal").get_parameter(name)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_patchify_convolution_is_drawn_with_the_root_of_one_over_its_inputs(groups):
    conv = conv_layer(384, 16, 16, groups=groups)
    spec = StemSpec(image_size=(32, 32), convs=(conv,))
    inputs = (3 // groups) * 16 * 16
    assert drawn("proj.weight", spec).std().item() == pytest.approx(inputs**-0.5, rel=0.02)
    assert not drawn("proj.bias", spec).any()


@pytest.mark.parametrize(
    ("closing", "fan_out"),
    [
        (conv_layer(384, 1), 384),
        (conv_layer(384, 2, 2), 384 * 4),
        (conv_layer(384, 1, norm="batch"), 384),
    ],
)
def test_the_last_of_several_convolutions_is_drawn_with_the_root_of_two_over_its_outputs(
    closing, fan_out
):
    spec = replace(conv_stem(image_size=32), convs=(LAYER, closing))
    weight = drawn("proj.weight", spec)
    assert weight.mean().item() == pytest.approx(0, abs=0.01)
    assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert weight.abs().max().item() > 2.5 * (2 / fan_out) ** 0.5  # not cut off
    if closing.bias:
        assert not drawn("proj.bias", spec).any()


def test_what_torchvision_leaves_alone_is_as_pytorch_draws_it():
    spec = conv_stem(image_size=32)
    plain, redrawn = (build_stem(spec, seed=3, init=init) for init in ("torch", "trunc_normal"))
    changed = {
        name
        for name, value in plain.state_dict().items()
        if not torch.equal(value, redrawn.state_dict()[name])
    }
    assert changed == {"proj.weight", "proj.bias"}


VIT = ViTSpec(stem=conv_stem((8,), embed_dim=64, image_size=16), depth=2, num_heads=4, mlp_ratio=4)


def test_blocks_and_classifier_are_drawn_as_torchvision_draws_them():
    weights = dict(build_vit(VIT, init="trunc_normal").named_parameters())
    # Xavier's uniform distribution: up to sqrt(6 / (inputs + outputs))
    for name, inputs, outputs in (("qkv", 64, 192), ("fc1", 64, 256), ("fc2", 256, 64)):
        for block in ("block1", "block2"):
            most = weights[f"{block}.{name}.weight"].abs().max().item()
            assert most == pytest.approx((6 / (inputs + outputs)) ** 0.5, rel=0.01)
    for name in ("qkv.bias", "out.bias"):
        assert not weights[f"block1.{name}"].any()
    for name in ("fc1.bias", "fc2.bias"):
        assert weights[f"block1.{name}"].std().item() == pytest.approx(1e-6, rel=0.3)
    assert not weights["head.weight"].any()
    assert not weights["head.bias"].any()


@pytest.mark.parametrize("init", ["torch", "trunc_normal"])
def test_seed_and_init_give_the_weights_of_stem_and_model(init):
    before = torch.get_rng_state()
    alone, whole, again = (
        build(VIT.stem if build is build_stem else VIT, seed=6, init=init).state_dict()
        for build in (build_stem, build_vit, build_vit)
    )
    assert all(torch.equal(value, whole[name]) for name, value in alone.items())
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("build", [build_stem, build_vit])
def test_an_unknown_way_to_draw_weights_is_refused(build):
    with pytest.raises(SpecError) as caught:
        build(VIT.stem if build is build_stem else VIT, init="xavier")
    assert str(caught.value) == (
        "init = 'xavier': it is not one of torch, trunc_normal. Use torch."
    )


def test_a_layer_norm_hands_on_maps_in_the_usual_order_of_memory() -> None:
    """Behind any other order convolutions of tiny maps crash the process: pytorch#195394."""
    norm = ChannelNorm(8)
    for shape in ((1, 8, 2, 1), (1, 8, 5, 7), (2, 8, 1, 1)):
        images = torch.randn(shape)
        assert norm(images).stride() == images.stride()
    one = ChannelNorm(1)
    images = torch.randn(1, 1, 4, 3)
    assert one(images).stride() == images.stride()


def test_the_stem_that_crashed_the_process_runs() -> None:
    stem = parse_stem(
        "3x3/3p3:4 ln silu d3, 3x3/3p2:4 bn hardswish g4 d2, 1x1/2:8 relu g4,"
        " 1x1/2p1:4 ln hardswish g4 d3 bias, 1x1/4:3 bn silu d3 bias",
        image_size=(22, 5),
        in_channels=1,
    )
    module = build_stem(stem, seed=2)
    with torch.inference_mode():
        for _ in range(20):
            assert module(torch.randn(1, 1, 22, 5)).shape == (1, stem.seq_len, 3)


@pytest.mark.parametrize(
    ("layer", "image_size", "dtype"),
    [
        ("2x2/1p2:2 g2 d3", (1, 7), "bfloat16"),  # rows of windows in the padding alone
        ("2x2/2p3:4 d2", (3, 1), "float16"),
        ("5x5/2p2:16", (9, 2), "bfloat16"),  # one column of windows
        ("4x4/2p1:6 g3", (11, 3), "bfloat16"),
    ],
)
def test_what_a_cpu_gets_wrong_in_two_bytes_is_right(layer, image_size, dtype):
    spec = parse_stem(layer, image_size=image_size, in_channels=6)
    conv = build_stem(spec).to(getattr(torch, dtype)).get_submodule("proj")
    image = torch.randn(1, 6, *image_size, generator=torch.Generator().manual_seed(0)).to(
        conv.weight
    )
    with torch.no_grad():
        seen = conv(image)
        exact = conv.double()(image.double())
    assert seen.dtype == image.dtype
    assert torch.allclose(seen.double(), exact, rtol=0.01, atol=0.01)
