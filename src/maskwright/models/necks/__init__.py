"""Networks from backbone stages to the levels that heads read."""
