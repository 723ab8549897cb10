"""Tokens as vectors: those of the run, their lengths and their cosines."""

from __future__ import annotations

import numpy as np
import torch

from tests.probes.stems import SMALL, noise, token_vectors
from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.similarity import cosines, token_norms
from vitc_inspect.tracing.hooks import trace


def test_token_vectors_are_what_the_tokens_layer_gives():
    module, image = build_stem(SMALL), noise(SMALL)
    vectors = token_vectors(module, image)
    kept = trace(module, image, keep={"tokens", "proj"})
    assert vectors.shape == (8, 10, 12)
    assert np.array_equal(vectors.reshape(80, 12), kept.record("tokens").kept.values.numpy())
    proj = kept.record("proj").kept.values.numpy()  # (d, rows, columns)
    assert np.array_equal(vectors, proj.transpose(1, 2, 0))


def test_norms_and_cosines_of_tokens_with_round_numbers():
    vectors = np.array([[[3.0, 4.0], [6.0, 8.0], [-3.0, -4.0]], [[4.0, -3.0], [0, 0], [5, 0]]])
    assert token_norms(vectors).tolist() == [[5, 10, 5], [5, 0, 5]]
    assert np.allclose(cosines(vectors, vectors[0, 0]), [[1, 1, -1], [0, 0, 0.6]])
    assert not cosines(vectors, vectors[1, 1]).any()


def test_cosines_are_those_of_torch():
    vectors = token_vectors(build_stem(SMALL), noise(SMALL))
    tokens = torch.from_numpy(vectors.copy())
    expected = torch.cosine_similarity(tokens, tokens[2, 3].expand_as(tokens), dim=2)
    assert np.allclose(cosines(vectors, vectors[2, 3]), expected)
