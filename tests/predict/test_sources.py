"""Files, folders and globs name the images a user means, each once, and results never overwrite each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import DataError
from maskwright.predict.sources import find_images, unique_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, other files and images further down; their content does not matter here."""
    images = ("b.png", "a.JPG", "c.tiff", ".hidden.png", "deep/d.png", "deep/deeper/e.png")
    for name in (*images, "notes.txt", "bare/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_gives_the_visible_images_directly_in_it_sorted(folder: Path) -> None:
    assert names(find_images([folder])) == ["a.JPG", "b.png", "c.tiff"]


def test_a_glob_gives_its_images_sorted_and_two_stars_go_down(folder: Path) -> None:
    assert names(find_images([f"{folder}/*"])) == ["a.JPG", "b.png", "c.tiff"]
    assert names(find_images([f"{folder}/**/*.png"])) == ["b.png", "d.png", "e.png"]


def test_the_order_of_the_sources_is_kept_and_each_file_comes_once(folder: Path) -> None:
    sources = [folder / "c.tiff", folder / "deep" / ".." / "b.png", folder, f"{folder}/*.png"]
    assert names(find_images(sources)) == ["c.tiff", "b.png", "a.JPG"]


def test_a_relative_and_an_absolute_path_are_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert find_images(["b.png", str(folder / "b.png")]) == [Path("b.png")]


def test_a_hidden_image_is_taken_when_it_is_named(folder: Path) -> None:
    assert names(find_images([folder / ".hidden.png"])) == [".hidden.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    (folder / "image[1].png").touch()
    assert names(find_images([folder / "image[1].png"])) == ["image[1].png"]


def test_a_folder_called_like_an_image_is_no_image(folder: Path) -> None:
    (folder / "z.png").mkdir()
    assert names(find_images([f"{folder}/*.png"])) == ["b.png"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.png", "missing.png does not exist"),
        ("notes.txt", r"notes\.txt is no image by its suffix '\.txt'; expected one of \.bmp"),
        ("bare", r"bare has no image directly in it .*\*\*"),
        ("*.webp", "matches 0 entries"),
        ("bare/*", "matches 1 entries, none of them an image"),
    ],
)
def test_a_source_without_images_is_an_error_that_names_it(folder: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_images([folder, folder / source])
    assert source in str(caught.value)


def test_no_source_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no image is named"):
        find_images([])


def test_results_are_called_by_the_stem_where_it_is_unique() -> None:
    assert unique_names([Path("x/street.jpg"), Path("y/cells.v2.tif")]) == {
        Path("x/street.jpg"): "street",
        Path("y/cells.v2.tif"): "cells.v2",
    }


def test_files_of_one_stem_get_their_folder_before_it_and_then_a_number() -> None:
    paths = [Path("A/1.png"), Path("b/1.png"), Path("b/1.jpg"), Path("c/b/1.png"), Path("1.png"), Path("a_1.png")]
    assert list(unique_names(paths).values()) == ["A_1", "b_1", "b_1-2", "b_1-3", "1", "a_1-2"]


@given(st.lists(st.from_regex(r"([abA]/){0,2}[a1A_]{1,3}\.(png|jpg)", fullmatch=True)))
def test_names_never_clash_even_where_capitals_do_not_count(texts: list[str]) -> None:
    paths = [Path(text) for text in texts]
    named = unique_names(paths)
    assert set(named) == set(paths)
    assert len({name.casefold() for name in named.values()}) == len(set(paths))
    assert not any("/" in name for name in named.values())
