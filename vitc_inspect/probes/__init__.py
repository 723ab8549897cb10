"""Experiments on a real module: each runs it in evaluation mode and leaves it as it was."""
