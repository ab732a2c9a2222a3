"""The attribute that is the class is asked for on the command line as in a recipe."""

from __future__ import annotations

import json

import pytest
from tests.data.tools import write_images

from maskwright.config.data import DatasetConfig
from maskwright.data.opening import open_dataset


@pytest.fixture
def files(tmp_path):
    shape = {"name": "rect", "x": 2, "y": 3, "width": 10, "height": 10}
    regions = [{"shape_attributes": shape, "region_attributes": {"species": "cat", "colour": "red"}}]
    path = tmp_path / "via.json"
    path.write_text(json.dumps({"a": {"filename": "a.png", "size": 1, "regions": regions}}))
    return str(write_images(tmp_path / "images")), str(path)


def test_data_check_says_how_to_choose_and_takes_the_choice(here, files):
    refused = here("data", "check", *files, "--format", "via")
    assert refused.status == 2
    assert "--class-attribute" in refused.err
    taken = here("data", "check", *files, "--format", "via", "--class-attribute", "colour")
    assert taken.status == 0
    assert "red 1" in taken.out


def test_a_recipe_takes_the_choice(files):
    images, annotations = files
    config = DatasetConfig(images=images, annotations=annotations, format="via", class_attribute="species")
    assert open_dataset(config, needs_masks=True).categories.names == ("cat",)
