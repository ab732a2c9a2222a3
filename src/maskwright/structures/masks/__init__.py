"""Masks that stay small: `crop` is one mask, `interface` what all kinds of an image's masks can do."""
