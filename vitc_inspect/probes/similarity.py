"""Norms of tokens, and their cosine similarity with a vector."""

from __future__ import annotations

import numpy as np

from vitc_inspect.probes.submodules import DoubleArray


def token_norms(vectors: DoubleArray) -> DoubleArray:
    """Compute the Euclidean norm of every token.

    Args:
        vectors: (rows, columns, width): the tokens in their positions of the grid.

    Returns:
        (rows, columns): the norms.
    """
    norms: DoubleArray = np.linalg.norm(vectors, axis=2)
    return norms


def cosines(vectors: DoubleArray, vector: DoubleArray) -> DoubleArray:
    """Compute the cosine similarity of every token with one vector.

    Args:
        vectors: (rows, columns, width).
        vector: (width,).

    Returns:
        (rows, columns): cosine similarity from -1 to 1; 0 for a token of norm 0, which has no
        direction.
    """
    lengths = token_norms(vectors) * np.linalg.norm(vector)
    products = vectors @ vector  # (rows, columns)
    known = lengths > 0
    found = np.divide(products, lengths, out=np.zeros_like(products), where=known)
    clipped: DoubleArray = np.clip(found, -1, 1)
    return clipped
