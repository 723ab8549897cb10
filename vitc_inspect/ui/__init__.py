"""The web page: the page itself, the requests it sends, and the answers it gets."""
