"""From annotation files to training samples: read, check, vary, load."""
