"""The stem as PyTorch modules, its weights and its device."""
