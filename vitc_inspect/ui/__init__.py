"""The web page: each request is read once and answered with parts of the page as HTML."""
