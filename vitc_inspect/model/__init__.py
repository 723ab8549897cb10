"""The stem and the ViT as PyTorch modules, their weights and their device."""
