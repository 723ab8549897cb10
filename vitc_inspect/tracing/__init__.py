"""One forward pass of any module, recorded; the module is left as it was."""
