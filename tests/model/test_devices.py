"""Which device a name stands for, and what is said of a name that stands for none."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vitc_inspect.audit.experiments import MapRunner
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.devices import (
    available_devices,
    device_title,
    factor_rounding,
    full_precision,
    resolve_device,
)
from vitc_inspect.probes.gradients import token_field
from vitc_inspect.probes.reach import reach
from vitc_inspect.tracing.dataflow import Flow


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the machine has so many CUDA devices, and an Apple GPU or none."""

    def pretend(*, cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


def test_auto_is_the_first_device_of_this_machine_and_works():
    device = resolve_device("auto")
    assert device.type == available_devices()[0]
    assert torch.ones(2, device=device).sum().item() == 2


def test_the_cpu_is_always_there():
    assert available_devices()[-1] == "cpu"
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "available"),
    [
        (0, False, ("cpu",)),
        (1, False, ("cuda", "cpu")),
        (0, True, ("mps", "cpu")),
        (2, True, ("cuda", "mps", "cpu")),
    ],
)
def test_auto_takes_the_fastest_that_is_there(machine, cuda, mps, available):
    machine(cuda=cuda, mps=mps)
    assert available_devices() == available
    assert resolve_device("auto") == torch.device(available[0])


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_cuda_device_may_carry_its_number(machine, name):
    machine(cuda=2)
    assert resolve_device(name) == torch.device(name)


def test_a_number_beyond_the_last_is_refused_with_the_range(machine):
    machine(cuda=2)
    with pytest.raises(SpecError) as caught:
        resolve_device("cuda:2")
    assert str(caught.value) == "device = 'cuda:2': the CUDA devices are 0 to 1. Use cuda:0."
    assert resolve_device(caught.value.suggestion) == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_there_is_refused_with_what_is(machine, name):
    machine()
    with pytest.raises(SpecError) as caught:
        resolve_device(name)
    assert str(caught.value) == (
        f"device = '{name}': PyTorch finds only cpu on this machine. Use auto."
    )
    assert resolve_device(caught.value.suggestion) == torch.device("cpu")


def test_every_device_that_is_there_is_named(machine):
    machine(mps=True)
    with pytest.raises(SpecError, match="finds only mps and cpu on this machine"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "tpu", "meta", "cpu:0", "cpu:", "mps:0", "auto:1", ":0", "cuda0"]
)
def test_an_unknown_name_is_refused_with_the_names_that_are_known(machine, name):
    machine()
    with pytest.raises(SpecError) as caught:
        resolve_device(name)
    assert str(caught.value) == (
        f"device = '{name}': it is not one of auto, cpu, cuda, mps. Use auto."
    )


@pytest.mark.parametrize("number", ["", "-1", "01", "x", "1.0", " 1", "²", "9" * 5000])
def test_a_number_that_no_cuda_device_has_is_refused(machine, number):
    machine(cuda=2)
    with pytest.raises(SpecError) as caught:
        resolve_device(f"cuda:{number}")
    assert caught.value.field == "device"
    resolve_device(caught.value.suggestion)


@pytest.mark.parametrize("name", [None, 0])
def test_what_is_no_name_is_refused_like_an_unknown_one(name):
    with pytest.raises(SpecError) as caught:
        resolve_device(name)
    assert caught.value.field == "device"


def test_the_title_of_a_cuda_device_is_torchs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert device_title(torch.device("cuda:1")) == "card 1"


def test_the_title_of_the_cpu_is_never_empty():
    assert device_title(torch.device("cpu")).strip()


@pytest.mark.parametrize(
    ("cpuinfo", "title"),
    [("processor\t: 0\nmodel name\t: Abacus 9 \n", "Abacus 9"), ("processor\t: 0\n", "chip")],
)
def test_the_title_is_the_model_name_or_what_python_says(monkeypatch, cpuinfo, title):
    monkeypatch.setattr(Path, "read_text", lambda self: cpuinfo)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "chip")
    assert device_title(torch.device("cpu")) == title


def test_without_cpuinfo_the_title_is_what_python_says(monkeypatch):
    def absent(self):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert device_title(torch.device("cpu")) == "arm"
    assert device_title(torch.device("mps")) == "arm GPU"


@pytest.fixture
def precision():
    """Sets how torch multiplies in convolutions and in matrix products, for the test alone."""
    places = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in places]

    def choose(conv, matmul):
        places[0].fp32_precision, places[1].fp32_precision = conv, matmul

    yield choose
    choose(*before)


@pytest.mark.parametrize(
    ("on_gpu", "dtype", "conv", "matmul", "share"),
    [
        (True, torch.float32, "tf32", "none", 2.0**-11),
        (True, torch.float32, "ieee", "tf32", 2.0**-11),
        (True, torch.float32, "ieee", "ieee", 0.0),
        (True, torch.float32, "none", "none", 0.0),
        (True, torch.float64, "tf32", "tf32", 0.0),
        (False, torch.float32, "tf32", "tf32", 0.0),
    ],
)
def test_a_gpu_may_round_the_factors_of_float32(precision, on_gpu, dtype, conv, matmul, share):
    precision(conv, matmul)  # with "ieee" torch.backends.cudnn.allow_tf32 itself raises
    assert factor_rounding(SimpleNamespace(is_cuda=on_gpu, dtype=dtype)) == share


@pytest.mark.parametrize("before", [("tf32", "none"), ("ieee", "tf32"), ("tf32", "tf32")])
def test_products_are_exact_inside_the_block_and_as_they_were_after_it(precision, before):
    places = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    precision(*before)
    inside = []

    @full_precision()
    def fail():
        inside.extend(place.fp32_precision for place in places)
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == ["ieee", "ieee"]
    assert tuple(place.fp32_precision for place in places) == before


@pytest.mark.parametrize("probe", ["token_field", "reach", "map"])
def test_what_is_claimed_to_the_last_bit_is_multiplied_exactly(precision, probe):
    """Gradients that must be 0, and maps that must be equal, are made without TensorFloat-32."""
    seen = []

    class Watched(nn.Conv2d):
        def forward(self, image):
            seen.append(torch.backends.cudnn.conv.fp32_precision)
            return super().forward(image)

    precision("tf32", "none")
    module = nn.Sequential(OrderedDict(proj=Watched(3, 4, 4, 4), tokens=nn.Flatten(2))).eval()
    image = torch.rand(1, 3, 8, 8)
    if probe == "token_field":
        module.proj.padding_mode = "reflect"  # so that the layer itself runs
        token_field(module, image, 0, 0)
    elif probe == "reach":
        reach(module, (image,), {}, image=image, call=0, place=(0, 0))
    else:
        maker = MapRunner.__new__(MapRunner)
        maker.image, maker._step = image, 0
        maker._flow = Flow(module, (image,), {})
        maker(image)
    assert set(seen) == {"ieee"}
