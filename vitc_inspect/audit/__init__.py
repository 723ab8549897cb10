"""Faults of a module that keep every shape right, found by running it again."""
