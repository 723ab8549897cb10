"""Which device a name stands for, and what is said of a name that stands for none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vitc_inspect.devices import (
    available_devices,
    device_title,
    factor_rounding,
    resolve_device,
)
from vitc_inspect.errors import SpecError


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


@pytest.mark.parametrize(
    ("on_gpu", "dtype", "allowed", "share"),
    [
        (True, torch.float32, True, 2.0**-11),
        (True, torch.float32, False, 0.0),
        (True, torch.float64, True, 0.0),
        (False, torch.float32, True, 0.0),
    ],
)
def test_a_gpu_may_round_the_factors_of_float32(monkeypatch, on_gpu, dtype, allowed, share):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert factor_rounding(SimpleNamespace(is_cuda=on_gpu, dtype=dtype)) == share
