"""Devices: selection, names and precision of matrix products."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitc_inspect.common.errors import SpecError

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Names of devices; a CUDA device may have an index, as in "cuda:1"."""

_NAME = re.compile(r"(cpu|cuda|mps)(?:(?<=cuda):(0|[1-9][0-9]{0,2}))?")


def available_devices() -> tuple[str, ...]:
    """Devices that PyTorch finds on this machine, fastest first."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return (*(name for name, there in found.items() if there), "cpu")


def resolve_device(name: str) -> torch.device:
    """Look up a device by name.

    Args:
        name: "cpu", "cuda", "cuda:1" or "mps"; "auto" for the fastest that is available.

    Returns:
        An available device.

    Raises:
        SpecError: field "device", when it is unknown or not available.
    """
    if isinstance(name, str) and name == "auto":
        return torch.device(available_devices()[0])
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    kind, number = match.groups() if match else (None, None)
    here, other = available_devices(), "auto"
    if kind is None:
        reason = f"it is not one of {', '.join(DEVICES)}"
    elif kind not in here:
        reason = f"PyTorch finds only {' and '.join(here)} on this machine"
    elif number and int(number) >= (count := torch.cuda.device_count()):
        reason, other = f"the CUDA devices are 0 to {count - 1}", "cuda:0"
    else:
        return torch.device(name)
    raise SpecError("device", name, reason, f"Use {other}", other)


def device_title(device: torch.device) -> str:
    """Get the model name of a device, for example "NVIDIA H100 80GB HBM3"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    processor = _linux_processor() or platform.processor() or platform.machine()
    return f"{processor} GPU" if device.type == "mps" else processor


def _linux_processor() -> str:
    """Model name of the processor on Linux; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def factor_rounding(tensor: Tensor) -> float:
    """Get the relative error with which a device may round float32 factors before multiplying.

    TensorFloat-32 keeps 11 of 24 bits. The setting is read from fp32_precision, since allow_tf32
    raises if convolutions and recurrent layers differ.
    """
    on_gpu = tensor.is_cuda and tensor.dtype == torch.float32
    return 2.0**-11 if on_gpu and any(p.fp32_precision == "tf32" for p in _precisions()) else 0.0


@contextmanager
def full_precision() -> Iterator[None]:
    """Turn TensorFloat-32 off inside the block, and restore it on exit.

    The setting belongs to the process, so it affects other threads too.
    """
    before = [(place, place.fp32_precision) for place in _precisions()]
    try:
        for place, _ in before:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in before:
            place.fp32_precision = precision


def _precisions() -> tuple[Any, Any]:
    """The objects that hold fp32_precision for convolutions and for matrix products."""
    cudnn: Any = torch.backends.cudnn  # its stubs lack conv
    return cudnn.conv, torch.backends.cuda.matmul
