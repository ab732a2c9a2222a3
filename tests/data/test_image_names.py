"""Names of images that another machine, a web page or a tool wrote, and the files that they mean."""

from __future__ import annotations

import base64
import unicodedata
from pathlib import Path

import pytest

from maskwright.data.checks import Problem
from maskwright.data.readers.image_names import FoundImage, ImageNames


def names_of(folder: Path, *files: str) -> ImageNames:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return ImageNames(folder)


@pytest.mark.parametrize("said", ["a.jpg", "./a.jpg", "sub/b c.jpg", "sub\\b c.jpg", "sub/b%20c.jpg", "100%#1?.jpg"])
def test_a_name_that_is_the_files_own_needs_no_remark(tmp_path, said):
    found = names_of(tmp_path, "a.jpg", "sub/b c.jpg", "100%#1?.jpg").find([said])
    assert isinstance(found, FoundImage)
    assert found.how == ""


@pytest.mark.parametrize(
    "said",
    [
        "/volume/shots/b c.jpg",
        "D:\\shots\\b c.jpg",
        "https://host/bucket/b%20c.jpg?X-Amz-Date=1&d",
        "s3://bucket/shots/b c.jpg",
        "/data/local-files/?d=shots/b%20c.jpg",
        "/data/upload/1/7f3d2c1a-b%20c.jpg",
        "/data/upload/1/ab12-b c.jpg",
        "/tasks/3/resolve/?fileuri=" + base64.urlsafe_b64encode(b"s3://bucket/b c.jpg").decode().rstrip("="),
        "B C.JPG",
        "b c.png",
    ],
)
def test_names_of_other_machines_and_addresses_mean_the_one_file_of_that_name(tmp_path, said):
    found = names_of(tmp_path, "sub/b c.jpg", "a.jpg").find([said])
    assert isinstance(found, FoundImage)
    assert found.path == tmp_path / "sub" / "b c.jpg"
    assert found.how


def test_a_file_may_have_the_prefix_that_its_name_lacks(tmp_path):
    found = names_of(tmp_path, "7f3d2c1a-a.jpg").find(["a.jpg"])
    assert isinstance(found, FoundImage)
    assert "prefix" in found.how


def test_unicode_forms_are_one_name(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.jpg")
    assert isinstance(names_of(tmp_path, decomposed).find([unicodedata.normalize("NFC", "é.jpg")]), FoundImage)


def test_of_files_with_one_name_the_folders_decide(tmp_path):
    names = names_of(tmp_path, "x/one/a.jpg", "x/two/a.jpg")
    assert names.find(["/old/two/a.jpg"]) == FoundImage(
        tmp_path / "x" / "two" / "a.jpg", names.find(["b/two/a.jpg"]).how
    )
    problem = names.find(["/old/a.jpg"])
    assert isinstance(problem, Problem)
    assert problem.kind == "ambiguous-image"
    assert "x/one/a.jpg, x/two/a.jpg" in problem.message


@pytest.mark.parametrize("said", [[], [""], ["gone.jpg"], ["a\0b"], ["?fileuri=%%%"], ["?d="], ["/"], ["x" * 9000]])
def test_what_means_no_file_is_a_missing_image(tmp_path, said):
    problem = names_of(tmp_path, "a.jpg").find(said)
    assert isinstance(problem, Problem)
    assert problem.kind == "missing-image"
    assert len(problem.message) < 500
