"""Measurements on a running module: each runs it in evaluation mode and restores it afterwards."""
