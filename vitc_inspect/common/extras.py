"""The optional dependencies of the package, and the error raised if one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

_TORCH = ("torch", "einops", "markupsafe", "matplotlib", "numpy", "PIL", "safetensors")
EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"torch": _TORCH, "app": ("gradio", "starlette", *_TORCH)}
)
"""The packages without which nothing of an extra works, by the name they are imported by.

torchinfo comes with them, but is one of several counters and may be missing.
"""


class MissingPackage(ModuleNotFoundError):
    """A package of an extra is not installed; the message is one sentence."""


def require(extra: str, *, by: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: Name of the extra, "torch" or "app".
        by: What needs them, the subject of the sentence.

    Raises:
        MissingPackage: naming the first package that is missing and the command that installs it.
    """
    for package in EXTRAS[extra]:
        if find_spec(package) is None:
            sentence = f"{by} needs {package}: pip install 'vitc-inspect[{extra}]'"
            raise MissingPackage(sentence, name=package) from None
