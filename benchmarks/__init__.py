"""Benchmarks: ratios and medians of one run, never a test."""
