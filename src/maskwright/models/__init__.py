"""The networks: backbones, necks and heads, composed by `build.py` from a recipe."""
