"""Recipes listed and printed."""

from __future__ import annotations

from maskwright.config import load_recipe, recipe_names


def test_list_has_every_recipe_with_its_summary(here):
    lines = here("recipes").out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert all(load_recipe(name).summary in line for name, line in zip(recipe_names(), lines, strict=True))


def test_printed_recipe_is_a_recipe_file_that_gives_the_same(here, tmp_path):
    for options in ([], ["--explain"]):
        file = tmp_path / "printed.yaml"
        file.write_text(here("recipes", "torchvision/mask_rcnn_r50_fpn", *options).out, encoding="utf-8")
        assert load_recipe(str(file)) == load_recipe("torchvision/mask_rcnn_r50_fpn")


def test_overrides_are_in_the_printed_recipe(here):
    assert "  nms_iou: 0.61\n" in here("recipes", "mask_rcnn", "rpn.nms_iou=0.61").out


def test_explanation_stands_above_each_key(here):
    text = here("recipes", "mask_rcnn", "--explain").out
    assert "  # anchors sampled into the loss\n  anchors_per_image: 256\n" in text
    assert "# Region proposal network: which anchors are trained on, which become proposals.\nrpn:\n" in text
