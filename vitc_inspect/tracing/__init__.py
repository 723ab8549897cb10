"""Record one forward pass of any module, and leave the module unchanged."""
