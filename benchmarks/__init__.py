"""Timings, both sides in one run: each file is started by hand and prints medians and their ratio."""
