"""Images on their way in and out: read, resize, batch, draw."""
