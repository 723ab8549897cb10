"""Stems as integers: specification, notation, prediction and cost. Never imports torch."""
