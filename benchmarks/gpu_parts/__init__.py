"""The parts of `benchmarks/gpu.py`, by name; each runs in a process of its own."""
