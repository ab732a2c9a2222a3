"""Pure tensor functions: boxes, anchors, matching, sampling, suppression, pooling, masks and losses."""
