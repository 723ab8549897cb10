"""A stem in whole numbers: described, written in one line, predicted. Never imports torch."""
