"""The tabs of the page as HTML, one file each."""
