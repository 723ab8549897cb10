"""The browser's way in: the page, the choice it sends, and the answers it gets."""
