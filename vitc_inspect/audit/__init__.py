"""Faults of a module that keep every shape right, found by following one more run of it."""
