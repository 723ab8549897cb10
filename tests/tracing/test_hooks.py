"""The hooks see what really happened, keep true copies within their budget, and leave nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import conv_stem
from vitc_inspect.tracing.hooks import hooked, image_statistics, packed, trace
from vitc_inspect.tracing.recorder import record_call


class Breaks(nn.Module):
    """A layer whose forward pass fails."""

    def forward(self, input):
        raise RuntimeError("broken on purpose")


class Twice(nn.Module):
    """Calls its one layer as often as it is told."""

    def __init__(self, layer, times=2):
        super().__init__()
        self.layer = layer
        self.times = times

    def forward(self, input):
        for _ in range(self.times):
            input = self.layer(input)
        return input


def one_stage(inplace=False):
    """Convolution, BatchNorm with statistics of its own, ReLU."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=inplace))
    nn.init.normal_(module[1].running_mean)
    return module


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def hook_count(module):
    return sum(
        len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in module.modules()
    )


def outputs_of(module, batch):
    """Each child's output for the first image, without any hook."""
    outputs = {}
    with torch.no_grad():
        for name, layer in module.named_children():
            batch = layer(batch)
            outputs[name] = batch[0].clone()
    return outputs


def test_no_hook_stays_after_a_run():
    module = one_stage()
    seen = []
    with hooked(list(module.named_children()), lambda *call: seen.append(hook_count(module))):
        module(images(1, 3, 8, 8))
    assert seen == [3, 3, 3]
    assert hook_count(module) == 0
    trace(module, images(1, 3, 8, 8))
    assert hook_count(module) == 0


@pytest.mark.parametrize("position", [0, 1, 3])
def test_no_hook_stays_after_a_forward_pass_that_raises(position):
    layers = list(one_stage())
    layers.insert(position, Breaks())
    module = nn.Sequential(*layers)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        trace(module, images(1, 3, 8, 8))
    assert hook_count(module) == 0
    assert module[-1].training
    assert not torch.is_inference_mode_enabled()


def test_no_hook_stays_after_an_image_of_the_wrong_shape():
    module = one_stage()
    with pytest.raises(RuntimeError):
        trace(module, images(1, 4, 8, 8))
    assert hook_count(module) == 0


def test_a_hook_of_somebody_else_stays():
    module, calls = one_stage(), []
    module[0].register_forward_hook(lambda *call: calls.append(call))
    trace(module, images(1, 3, 8, 8))
    assert hook_count(module) == 1
    assert len(calls) == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("breaks", [True, False])
def test_the_module_is_left_as_it_was(training, breaks):
    module = nn.Sequential(*one_stage(), *([Breaks()] if breaks else []))
    module.train(training)
    module[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [parameter.requires_grad for parameter in module.parameters()]
    try:
        trace(module, images(2, 3, 8, 8))
    except RuntimeError:
        assert breaks
    assert [layer.training for layer in module.modules()] == [training] * len(
        list(module.modules())
    )
    assert [parameter.requires_grad for parameter in module.parameters()] == flags
    assert all(parameter.grad is None for parameter in module.parameters())
    after = module.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_the_random_state_is_left_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5))
    before = torch.get_rng_state()
    trace(module, images(1, 3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_module_still_learns_after_a_trace():
    module = one_stage().eval()
    trace(module, images(1, 3, 8, 8))
    module(images(1, 3, 8, 8)).sum().backward()
    assert module[0].weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (9, 7)])
@pytest.mark.parametrize("training", [True, False])
def test_the_images_own_statistics_leave_the_stored_ones_bit_for_bit(dtype, size, training):
    module = one_stage()[1].to(dtype).train(training)
    holder = nn.Sequential(module)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    tensors = [id(value) for value in module.buffers()]
    with image_statistics(holder):
        batch = images(2, 8, *size).to(dtype) * 3 + 5
        normed = trace(holder, batch).record("0").kept.values.float()
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [id(value) for value in module.buffers()] == tensors
    assert hook_count(holder) == 0
    values = batch.float()
    spread = values.var(dim=(0, 2, 3), correction=0) + module.eps
    expected = (values[0] - values.mean(dim=(0, 2, 3))[:, None, None]) / spread[
        :, None, None
    ] ** 0.5
    assert torch.allclose(normed, expected, atol=0.03 if dtype != torch.float32 else 1e-5)


def test_the_stored_statistics_are_back_after_a_forward_pass_that_raises():
    module = nn.Sequential(*one_stage().eval(), Breaks())
    mean, variance = module[1].running_mean, module[1].running_var
    with pytest.raises(RuntimeError, match="broken on purpose"), image_statistics(module):
        trace(module, images(1, 3, 8, 8))
    assert module[1].running_mean is mean
    assert module[1].running_var is variance
    assert hook_count(module) == 0


def test_one_value_a_channel_is_normalised_by_what_is_stored():
    module = one_stage().eval()
    batch = images(1, 3, 1, 1)
    expected = outputs_of(module, batch)["1"]
    with image_statistics(module):
        assert torch.equal(trace(module, batch).record("1").kept.values, expected)


def test_a_norm_that_stores_nothing_or_is_no_batch_norm_is_let_be():
    norms = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3)).eval()
    batch = images(1, 3, 4, 4)
    expected = outputs_of(norms, batch)
    with image_statistics(norms):
        records = trace(norms, batch).records
    assert all(torch.equal(record.kept.values, expected[record.name]) for record in records)


@pytest.mark.parametrize("inplace", [True, False])
def test_an_in_place_relu_does_not_overwrite_what_was_kept(inplace):
    module = one_stage(inplace).eval()
    batch = images(2, 3, 16, 16)
    normed = module[1](module[0](batch))[0]
    assert normed.min() < 0  # else the ReLU would have nothing to overwrite
    kept = trace(module, batch).record("1").kept
    assert torch.allclose(kept.values, normed, atol=1e-6)


def test_what_was_kept_does_not_change_with_the_next_run():
    module = one_stage().eval()
    kept = trace(module, images(1, 3, 8, 8)).record("0").kept.values
    before = kept.clone()
    trace(module, torch.zeros(1, 3, 8, 8))
    assert torch.equal(kept, before)


def test_every_kept_output_is_the_layers_output_for_the_first_image():
    module = build_stem(conv_stem((8, 16), embed_dim=12, image_size=(32, 40)), seed=4)
    batch = images(2, 3, 32, 40)
    observed = trace(module, batch)
    outputs = outputs_of(module, batch)
    assert [record.name for record in observed.records] == list(outputs)
    for record in observed.records:
        assert (record.kept.step, record.kept.dropped) == (1, 0)
        assert torch.equal(record.kept.values, outputs[record.name])


def test_a_record_holds_what_the_module_itself_says():
    conv = nn.Conv2d(3, 8, 3, 2, 1)
    (record,) = trace(nn.Sequential(conv), images(2, 3, 9, 12)).records
    assert (record.name, record.kind, record.dtype) == ("0", "Conv2d", "float32")
    assert (record.in_shape, record.out_shape) == ((2, 3, 9, 12), (2, 8, 5, 6))
    assert record.params == conv.weight.numel() + conv.bias.numel() == 8 * 27 + 8
    assert record.macs == 2 * 8 * 5 * 6 * 27
    assert record.bytes == 4 * 2 * 8 * 5 * 6


def test_parameters_are_counted_where_they_stand():
    module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.ReLU())
    params = {record.name: record.params for record in trace(module, images(1, 3, 4, 4)).records}
    assert params == {"0.0": 3 * 4 + 4, "0.1": 2 * 4, "1": 0}  # 0 only holds the two


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_number_format_of_the_run_is_recorded_and_kept(dtype):
    module = build_stem(conv_stem((8,), embed_dim=8, image_size=16)).to(dtype)
    observed = trace(module, images(1, 3, 16, 16).to(dtype))
    item = torch.finfo(dtype).bits // 8
    for record in observed.records:
        assert record.dtype == str(dtype).removeprefix("torch.")
        assert record.bytes == item * torch.Size(record.out_shape).numel()
        assert record.kept.values.dtype == dtype
        assert record.kept.bytes == record.bytes
    assert observed.kept_bytes == sum(record.bytes for record in observed.records)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_module_that_is_called_again_makes_another_record(times):
    module = Twice(nn.Conv2d(3, 3, 3, 2, 1), times)
    records = trace(module, images(1, 3, 64, 64)).records
    assert [record.name for record in records] == ["layer"] * times
    assert [record.in_shape[-1] for record in records] == [64 >> call for call in range(times)]


def test_a_module_under_two_names_is_recorded_twice():
    shared = nn.Conv2d(3, 3, 1)
    records = trace(nn.Sequential(shared, nn.ReLU(), shared), images(1, 3, 4, 4)).records
    assert [record.name for record in records] == ["0", "1", "0"]


def test_records_stand_in_the_order_of_the_calls_not_of_the_names():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.ReLU(), nn.Conv2d(3, 4, 1)

        def forward(self, input):
            return self.last(self.first(input))

    records = trace(Backwards(), images(1, 3, 4, 4)).records
    assert [record.name for record in records] == ["first", "last"]


def test_a_module_that_never_ran_has_no_record():
    module = one_stage()
    module.forward = lambda input: module[0](input)
    observed = trace(module, images(1, 3, 8, 8))
    assert observed.record("0").kind == "Conv2d"
    with pytest.raises(KeyError):
        observed.record("1")


class Gives(nn.Module):
    """A layer that returns one tensor, whatever it is given."""

    def __init__(self, *shape, dtype=torch.float32):
        super().__init__()
        self.output = images(*shape).to(dtype)

    def forward(self, input):
        return self.output


SHAPES = [
    (1, 3, 1000, 1000),
    (1, 64, 200, 300),
    (2, 16, 7, 1900),
    (1, 1, 5000, 1),
    (1, 60_000, 1, 1),
    (1, 60_000, 3, 3),
    (1, 50_000, 8),
    (1, 197, 768),
    (1, 2, 60_000),
    (2, 5, 1),
]


@pytest.mark.parametrize("keep_bytes", [1, 5, 64, 1000, 40_000, 2**20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_copies_stay_within_their_budget_and_are_every_step_th_value(shape, dtype, keep_bytes):
    module = nn.Sequential(Gives(*shape, dtype=dtype), Gives(*shape, dtype=dtype))
    observed = trace(module, images(1, 3, 4, 4), keep_bytes=keep_bytes)
    assert observed.kept_bytes <= keep_bytes
    for record, layer in zip(observed.records, module, strict=True):
        kept = record.kept
        if kept is None:  # no room for a single number
            assert keep_bytes < 4 * layer.output.element_size()
            continue
        whole = layer.output[0]
        if whole.ndim == 3:
            expected = whole[: len(whole) - kept.dropped, :: kept.step, :: kept.step]
        else:
            expected = whole[:: kept.step, : whole.shape[1] - kept.dropped]
        assert kept.values.shape == expected.shape
        assert kept.values.numel() >= 1
        assert torch.equal(kept.values, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_thinned_that_fits(shape):
    module = nn.Sequential(Gives(*shape))
    fits = 4 * torch.Size(shape[1:]).numel()
    whole = trace(module, images(1, 3, 4, 4), keep_bytes=fits).record("0").kept
    assert (whole.step, whole.dropped, whole.bytes) == (1, 0, fits)
    thinned = trace(module, images(1, 3, 4, 4), keep_bytes=fits - 1).record("0").kept
    assert thinned.step > 1 or thinned.dropped > 0


def test_channels_are_dropped_only_where_one_value_of_each_is_too_much():
    maps, channels = nn.Sequential(Gives(1, 10, 40, 40)), nn.Sequential(Gives(1, 1000, 3, 3))
    kept = trace(maps, images(1, 3, 4, 4), keep_bytes=4 * 10).record("0").kept
    assert (kept.dropped, kept.step, kept.values.shape) == (0, 40, (10, 1, 1))
    kept = trace(channels, images(1, 3, 4, 4), keep_bytes=4 * 900).record("0").kept
    assert (kept.dropped, kept.step, kept.values.shape) == (100, 3, (900, 1, 1))


def test_the_budget_is_for_all_calls_of_a_layer_together():
    module = Twice(nn.Conv2d(3, 3, 3, 1, 1), 8)
    observed = trace(module, images(1, 3, 64, 64), keep_bytes=10_000)
    assert len(observed.records) == 8
    assert observed.kept_bytes <= 10_000


def test_a_budget_of_nothing_keeps_nothing():
    observed = trace(one_stage(), images(1, 3, 8, 8), keep_bytes=0)
    assert [record.kept for record in observed.records] == [None] * 3
    assert observed.kept_bytes == 0
    assert observed.record("0").out_shape == (1, 8, 4, 4)


def test_a_packed_trace_holds_the_same_in_one_block():
    observed = trace(build_stem(conv_stem(image_size=32)), images(1, 3, 32, 32))
    block = packed(observed)
    assert [record.name for record in block.records] == [record.name for record in observed.records]
    for ours, theirs in zip(block.records, observed.records, strict=True):
        assert torch.equal(ours.kept.values, theirs.kept.values)
        assert ours.kept.step == theirs.kept.step
    assert len({record.kept.values.untyped_storage().data_ptr() for record in block.records}) == 1
    assert packed(trace(nn.Sequential(nn.ReLU()), images(1, 1, 2, 2), keep_bytes=0)).kept_bytes == 0


def test_only_the_named_layers_are_kept_and_share_the_whole_budget():
    module = build_stem(conv_stem(image_size=32))
    observed = trace(module, images(1, 3, 32, 32), keep={"conv2"}, keep_bytes=4 * 96 * 8 * 8)
    kept = {record.name: record.kept for record in observed.records if record.kept}
    assert list(kept) == ["conv2"]
    assert kept["conv2"].values.shape == (96, 8, 8)


@pytest.mark.parametrize("name", ["vit_c_4gf", "vit_c_18gf", "swin_t"])
def test_outputs_that_fit_together_are_all_kept_whole(name):
    module = build_stem(PRESETS[name].stem)
    observed = trace(module, images(1, 3, 224, 224))
    assert {record.kept.step for record in observed.records} == {1}


def test_values_are_looked_at_only_where_they_are_kept() -> None:
    """Their least and largest cost as much as a copy."""
    module, given = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), images(2, 3, 8, 8)
    with torch.inference_mode():
        first, second = module[0](given)[0], module(given)[0]
    conv, relu = trace(module, given).records
    assert (conv.low, conv.high) == (float(first.min()), float(first.max()))
    assert (relu.low, relu.high, relu.finite) == (0.0, float(second.max()), True)
    for kept in (trace(module, given, keep_bytes=0), trace(module, given, keep=())):
        assert {(call.low, call.high, call.finite) for call in kept.records} == {(None, None, None)}
    module[0].bias.data[1] = torch.inf
    conv, relu = trace(module, given).records
    assert (conv.finite, relu.finite) == (False, False)


def on_a_gpu_that_is_not_there(module, batch, device):
    """Both with tensors that claim to lie on a device, and have shapes alone."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    mode = FakeTensorMode()

    def moved(tensor):
        return FakeTensor(mode, tensor.detach().to("meta"), torch.device(device))

    for layer in module.modules():
        for held in (layer._parameters, layer._buffers):
            held.update(
                {name: moved(tensor) for name, tensor in held.items() if tensor is not None}
            )
    return mode, module, moved(batch)


def test_a_gpu_is_asked_for_its_peak_and_for_no_number_while_it_works(monkeypatch):
    """A tensor without numbers raises where one is read, which would make a GPU finish first."""
    asked = []
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda device: asked.append(("reset", device))
    )
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda device: asked.append(("peak", device)) or 4321
    )
    vit = PRESETS["vit_c_1gf"].vit
    batch = images(1, 3, 224, 224)
    expected = trace(build_vit(vit), batch, keep_bytes=0)
    mode, module, batch = on_a_gpu_that_is_not_there(build_vit(vit), batch, "cuda:1")
    with mode:
        seen = trace(module, batch, keep_bytes=0)
    assert seen.records == expected.records
    assert (seen.peak_bytes, expected.peak_bytes) == (4321, None)
    device = torch.device("cuda:1")
    assert asked == [("reset", device), ("peak", device)]


class Ending(nn.Sequential):
    """Notes that its forward is over."""

    def __init__(self, *layers, note):
        super().__init__(*layers)
        self.note = note

    def forward(self, input):
        output = super().forward(input)
        self.note("the forward is over")
        return output


@pytest.fixture
def fetched(monkeypatch):
    """A list that grows with each number or tensor that is fetched from a device."""
    events = []
    for name in ("cpu", "item", "tolist", "numpy", "__float__", "__bool__", "__int__"):
        original = getattr(torch.Tensor, name)

        def spy(tensor, *args, name=name, original=original):
            events.append(name)
            return original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, spy)
    return events


@pytest.mark.parametrize("look", ["trace", "record"])
def test_what_is_kept_is_fetched_when_the_forward_is_over(fetched, look):
    module = Ending(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), note=fetched.append).eval()
    if look == "trace":
        seen = trace(module, images(2, 3, 8, 8), keep_bytes=2**20).records
    else:
        seen = record_call(module, [images(2, 3, 8, 8)], keep_bytes=2**20).calls
    assert [each.kept is not None for each in seen] == [True, True, True]
    assert fetched[0] == "the forward is over"
    assert fetched.count("cpu") == 3
