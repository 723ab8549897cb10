"""Stems that the tests of the terminal print."""

from __future__ import annotations

STEM = "3x3/2:8 bn relu, 1x1:12"
SMALL = (STEM, "--image-size", "32x40", "--device", "cpu")
