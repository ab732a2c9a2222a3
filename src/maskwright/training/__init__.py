"""Training: one loop, and what stands around it. Read `fit.py` first."""
