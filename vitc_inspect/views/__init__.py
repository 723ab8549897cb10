"""Views of a report for the terminal, notebooks and the page; they only format results."""
