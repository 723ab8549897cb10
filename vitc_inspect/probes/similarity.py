"""Token vectors, their norms and their cosine similarity."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from vitc_inspect.common.validation import check_int
from vitc_inspect.probes.submodules import DoubleArray, before_tokens, doubles, evaluating


def token_vectors(module: nn.Sequential, input: Tensor) -> DoubleArray:
    """Compute the tokens of a stem, before class token and position table.

    Args:
        module: A stem, as `model.build_stem` builds it.
        input: (1, c, h, w), on the module's device and in its dtype.

    Returns:
        (rows, columns, width): the image tokens in their positions of the grid.
    """
    with evaluating(module), torch.inference_mode():
        grid = before_tokens(module)(input)  # (1, d, rows, columns)
        tokens = module.get_submodule("tokens")(grid)[0]  # (n, d)
        places = "(rows columns) d -> rows columns d"
        return doubles(rearrange(tokens, places, columns=grid.shape[3]))


def token_norms(vectors: DoubleArray) -> DoubleArray:
    """Compute the Euclidean norm of every token.

    Args:
        vectors: (rows, columns, width), as `token_vectors` returns them.

    Returns:
        (rows, columns): the norms.
    """
    norms: DoubleArray = np.linalg.norm(vectors, axis=2)
    return norms


def cosine_to_all(vectors: DoubleArray, token: tuple[int, int]) -> DoubleArray:
    """Compute the cosine similarity of one token with every token, itself included.

    Args:
        vectors: (rows, columns, width), as `token_vectors` returns them.
        token: Row and column of the token.

    Returns:
        (rows, columns): cosine similarity from -1 to 1; 0 for a token of norm 0, which has no
        direction.

    Raises:
        SpecError: field "row" or "column".
    """
    row = check_int("row", token[0], 0, vectors.shape[0] - 1)
    column = check_int("column", token[1], 0, vectors.shape[1] - 1)
    return cosines(vectors, vectors[row, column])


def cosines(vectors: DoubleArray, vector: DoubleArray) -> DoubleArray:
    """Compute the cosine similarity of every token with one vector.

    Args:
        vectors: (rows, columns, width).
        vector: (width,).

    Returns:
        (rows, columns): as `cosine_to_all`.
    """
    lengths = token_norms(vectors) * np.linalg.norm(vector)
    products = vectors @ vector  # (rows, columns)
    known = lengths > 0
    found = np.divide(products, lengths, out=np.zeros_like(products), where=known)
    clipped: DoubleArray = np.clip(found, -1, 1)
    return clipped
