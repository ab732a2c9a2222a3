"""The two-stage family: propose boxes, then classify, refine and segment each."""
