"""Views of a report: each turns it into something to look at, and decides nothing."""
