"""Recipes: typed, frozen settings of a model and its training, read without importing torch."""

from maskwright.config.loading import is_recipe_file, load_recipe, recipe_from_table, recipe_names, stored_recipe
from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.config.overrides import parse_override
from maskwright.config.run import Recipe
from maskwright.config.yolact import YolactRecipe

__all__ = [
    "MaskRcnnRecipe",
    "Recipe",
    "YolactRecipe",
    "is_recipe_file",
    "load_recipe",
    "parse_override",
    "recipe_from_table",
    "recipe_names",
    "stored_recipe",
]
