"""Checkpoints of every supported format, read without running anything that is in them."""
