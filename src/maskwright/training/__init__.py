"""Training: one loop and what it needs. Read `fit.py` first."""
