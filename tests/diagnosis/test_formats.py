"""Errors of number formats and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.diagnosis.raised import assert_explained, raised
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [  # worded as in torchvision 0.28, timm 1.0, transformers 4, vit-pytorch and torch on a GPU
        (
            "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the"
            " same",
            "device",
            "The image is on cuda and the weights on cpu",
        ),
        (
            "Input type (torch.FloatTensor) and weight type (torch.cuda.HalfTensor) should be the"
            " same or input should be a MKLDNN tensor and weight is a dense tensor",
            "device",
            "The image is on cpu and the weights on cuda",
        ),
        (
            "Input type (torch.cuda.ByteTensor) and weight type (torch.cuda.FloatTensor) should be"
            " the same",
            "dtype",
            "uint8 and the weights float32",
        ),
        (
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0"
            " and cpu!",
            "device",
            "cuda:0 and another on cpu",
        ),
        (
            "Expected all tensors to be on the same device, but got mat1 is on cpu, different from"
            " other tensors on cuda:0 (when checking argument in method wrapper_CUDA_addmm)",
            "device",
            "cuda:0 and another on cpu",
        ),
    ],
)
def test_what_others_raise_is_explained(text: str, kind: str, says: str) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence


@raised("formats")
def test_raised_formats(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(
    ("text", "kind", "says", "likelihood"),
    [
        (
            "expected m1 and m2 to have the same dtype, but got: float != c10::Half",
            "dtype",
            "float32 and the weights float16",
            "likely",
        ),
        (
            "mat1 and mat2 must have the same dtype, but got Half and Float",
            "dtype",
            "float16 and the weights float32",
            "likely",
        ),
        (
            "Input type (MPSFloatType) and weight type (torch.FloatTensor) should be the same",
            "device",
            "on mps and the weights on cpu",
            "certain",
        ),
        (
            "Caught RuntimeError in replica 0 on device 0.\nOriginal Traceback (most recent"
            " call last):\nRuntimeError: Input type (torch.cuda.HalfTensor) and weight type"
            " (torch.cuda.FloatTensor) should be the same",
            "dtype",
            "float16 and the weights float32",
            "certain",
        ),
        ("\"LayerNormKernelImpl\" not implemented for 'Half'", "dtype", "float16", "certain"),
        (
            "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a"
            " non-contiguous input.",
            "gpu",
            "does not say why",
            "possible",
        ),
        (
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
            "gpu",
            "does not say why",
            "possible",
        ),
        ("CUDA error: device-side assert triggered", "index", "out of range", "possible"),
    ],
)
def test_formats_and_devices_in_the_words_of_gpus(
    text: str, kind: str, says: str, likelihood: str
) -> None:
    best = explain_error(f"RuntimeError: {text}")[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in best.sentence
