"""What PyTorch raises when a position table made for another image size is kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def error_with_table(module: nn.Sequential, batch: Tensor, rows: int) -> str | None:
    """Run a stem with a position table of another length; the module is left as it was.

    Args:
        module: A stem or a model with a layer "pos_embed".
        batch: (1, in_channels, height, width): the image.
        rows: Rows of the table that is kept.

    Returns:
        The message of the error that the forward pass raises, or None if it raises none.
    """
    layer = module.get_submodule("pos_embed")
    own = layer.get_parameter("table")
    layer.table = nn.Parameter(own.new_zeros(1, rows, own.shape[-1]))
    try:
        with torch.inference_mode():
            module(batch)
    except RuntimeError as error:
        return str(error)
    finally:
        layer.table = own
    return None
