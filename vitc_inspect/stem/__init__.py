"""Stems in integer arithmetic: specification, notation, prediction, cost. Never imports torch."""
