"""Errors, validation, images and guarded calls, for all other wings."""
