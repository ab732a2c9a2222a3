"""Names stand for the images, videos and cameras a user means, each once, and results never overwrite each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import DataError
from maskwright.images.video import Camera
from maskwright.predict.sources import count_images, find_sources, is_video, left_out_line, unique_names


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
    assert names(find_sources([folder])) == ["a.JPG", "b.png", "c.tiff"]


def test_a_glob_gives_its_images_sorted_and_two_stars_go_down(folder: Path) -> None:
    assert names(find_sources([f"{folder}/*"])) == ["a.JPG", "b.png", "c.tiff"]
    assert names(find_sources([f"{folder}/**/*.png"])) == ["b.png", "d.png", "e.png"]


def test_the_order_of_the_sources_is_kept_and_each_file_comes_once(folder: Path) -> None:
    sources = [folder / "c.tiff", folder / "deep" / ".." / "b.png", folder, f"{folder}/*.png"]
    assert names(find_sources(sources)) == ["c.tiff", "b.png", "a.JPG"]


def test_a_relative_and_an_absolute_path_are_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert find_sources(["b.png", str(folder / "b.png")]) == [Path("b.png")]


def test_a_hidden_image_is_taken_when_it_is_named(folder: Path) -> None:
    assert names(find_sources([folder / ".hidden.png"])) == [".hidden.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    (folder / "image[1].png").touch()
    assert names(find_sources([folder / "image[1].png"])) == ["image[1].png"]


def test_what_cellpose_writes_beside_images_is_no_image_and_told(folder: Path) -> None:
    assert left_out_line([folder, f"{folder}/*", "camera:0", folder / "b.png"]) is None
    for name in ("b_cp_masks.png", "b_seg.npy", "c_cp_masks.tif"):
        (folder / name).touch()
    assert names(find_sources([folder])) == names(find_sources([f"{folder}/*"])) == ["a.JPG", "b.png", "c.tiff"]
    assert names(find_sources([folder / "b_cp_masks.png"])) == ["b_cp_masks.png"]
    line = left_out_line([folder, f"{folder}/*"])
    assert line == "3 files that Cellpose wrote beside images are left out: b_cp_masks.png, b_seg.npy, c_cp_masks.tif"


def test_photographs_of_telephones_and_browsers_are_images(folder: Path) -> None:
    for name in ("d.heic", "e.AVIF", "f.jfif", "g.jp2"):
        (folder / name).touch()
    assert names(find_sources([folder]))[-4:] == ["d.heic", "e.AVIF", "f.jfif", "g.jp2"]


def test_a_folder_called_like_an_image_is_no_image(folder: Path) -> None:
    (folder / "z.png").mkdir()
    assert names(find_sources([f"{folder}/*.png"])) == ["b.png"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.png", "missing.png does not exist"),
        ("notes.txt", r"notes\.txt is no image or video by its suffix '\.txt'; expected one of \.avif"),
        ("bare", r"bare has no image or video directly in it .*\*\*"),
        ("*.webp", "matches 0 entries"),
        ("bare/*", "matches 1 entries, none of them an image or video"),
    ],
)
def test_a_source_without_images_is_an_error_that_names_it(folder: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_sources([folder, folder / source])
    assert source in str(caught.value)


def test_videos_are_found_beside_images_and_cameras_by_their_number(folder: Path) -> None:
    for name in ("clip.MP4", "deep/clip.mkv"):
        (folder / name).touch()
    sources = find_sources(["camera:1", folder, f"{folder}/**/*.mkv", "camera:0", "camera:1"])
    assert [source if isinstance(source, Camera) else source.name for source in sources] == [
        Camera(1), "a.JPG", "b.png", "c.tiff", "clip.MP4", "clip.mkv", Camera(0),
    ]  # fmt: skip
    assert [is_video(source) for source in sources] == [True, False, False, False, True, True, True]


def test_a_file_called_like_a_camera_is_that_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("camera:0").mkdir()
    (folder / "camera:0" / "x.png").touch()
    assert find_sources(["camera:0"]) == [Path("camera:0/x.png")]


@pytest.mark.parametrize("name", ["camera:", "camera:x", "camera:-1", "camera", "camera:12345"])
def test_a_camera_without_a_number_does_not_exist(name: str) -> None:
    with pytest.raises(DataError, match=r"does not exist; give .* camera:0"):
        find_sources([name])


def test_images_and_frames_are_counted_as_far_as_they_are_known(folder: Path, write_video) -> None:
    images, video = find_sources([folder]), write_video(folder / "clip.mp4", 5)
    assert count_images(images) == 3
    assert count_images([*images, video]) == 8
    assert count_images([*images, video], most_frames=2) == 5
    assert count_images([*images, Camera(0)]) is None
    assert count_images([*images, Camera(0)], most_frames=7) == 10
    (folder / "broken.mp4").touch()
    assert count_images([video, folder / "broken.mp4"]) is None


def test_no_source_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no image is named"):
        find_sources([])


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
