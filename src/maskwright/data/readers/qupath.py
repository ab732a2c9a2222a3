"""QuPath: a GeoJSON file for each image with the annotations and cells that were drawn or found in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.image_json import not_a_list, read_file_per_image
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.readers.shapes import Region, points_of, polygon, union, with_holes
from maskwright.data.record import Dataset, Remark

# keys that a GeoJSON file has
SIGNS = (("geometry", "coordinates", "properties"), ("geometry", "coordinates", "objectType"))
_NO_CLASS = "object"
_Size = tuple[int, int]


def read_qupath(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read GeoJSON exported from QuPath.

    Polygons, with their holes, and several of them together are objects; points and lines are defects. Coordinates are
    pixels of the whole image. Objects without a classification are of the class `object`.

    Args:
        images: folder of the image files.
        annotations: folder of the GeoJSON files, each called like its image, or one of them.
        options: what the owner of the dataset decides.

    Raises:
        DataError: there is no GeoJSON file.
    """
    return read_file_per_image(
        images, annotations, options, endings=(".geojson", ".json"), names_in=_names_in, things_in=_things_in
    )


def _names_in(document: Any) -> Sequence[str] | Problem:
    if _features(document) is None:
        return Problem("broken-json", "has no 'features'; is it GeoJSON of QuPath?")
    return []


def _features(document: Any) -> Any:
    """The features of a collection, of a list of them, or the only one."""
    if isinstance(document, dict):
        return document.get("features") if "features" in document else [document] if "geometry" in document else None
    return document if isinstance(document, list) else None


def _things_in(where: str, document: Any, size: _Size) -> Iterator[Thing]:
    features = _features(document)
    if not isinstance(features, list):
        yield not_a_list(where, "features", "QuPath")
        return
    for index, feature in enumerate(features):
        yield from _thing(f"{where} features[{index}]", feature, size)


def _thing(where: str, feature: Any, size: _Size) -> Iterator[Thing]:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict):
        yield Flaw(where, Problem("bad-shape", f"{show(feature)} has no 'geometry'"))
        return
    region = _region(geometry, size)
    if isinstance(region, Problem):
        yield Flaw(where, region)
        return
    name = _class_of(properties if isinstance(properties, dict) else {})
    if name is None:
        yield Remark("no-class", where, f"has no classification; it is of the class {_NO_CLASS!r}", None)
    yield FoundObject(where, name or _NO_CLASS, region)


def _class_of(properties: Mapping[str, Any]) -> str | None:
    """The name of a classification, whose parts newer versions list."""
    found = properties.get("classification")
    if isinstance(found, dict):
        names = found.get("names")
        found = ": ".join(map(str, names)) if isinstance(names, list) and names else found.get("name")
    return found if isinstance(found, str) and found else None


def _region(geometry: Mapping[str, Any], size: _Size) -> Region | Problem:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if not isinstance(kind, str) or kind not in _SHAPES:
        known = ", ".join(_SHAPES)
        return Problem("shape-without-area", f"a {show(kind)} covers no pixels; draw one of {known}, or remove it")
    if not isinstance(coordinates, list) or not coordinates:
        return Problem("bad-shape", f"coordinates {show(coordinates)} is not a list of outlines")
    return _SHAPES[kind](coordinates, size)


def _polygon(rings: Any, size: _Size) -> Region | Problem:
    """The first ring without the others, which are holes."""
    if not isinstance(rings, list) or not rings:
        return Problem("bad-shape", f"coordinates {show(rings)} is not a list of outlines")
    regions = [_ring(ring) for ring in rings]
    problem = next((region for region in regions if isinstance(region, Problem)), None)
    if problem is not None:
        return problem
    outline, *holes = [region for region in regions if not isinstance(region, Problem)]
    return with_holes(outline, holes, size)


def _ring(ring: Any) -> Region | Problem:
    points = [point[:2] if isinstance(point, list) else point for point in ring] if isinstance(ring, list) else ring
    pairs = points_of(points)
    if pairs is None:
        return Problem("bad-shape", f"outline {show(ring)} is not a list of finite pairs x, y")
    return polygon(pairs[:-1] if len(pairs) > 3 and pairs[0] == pairs[-1] else pairs)


def _several(polygons: Any, size: _Size) -> Region | Problem:
    regions = [_polygon(rings, size) for rings in polygons]
    problem = next((region for region in regions if isinstance(region, Problem)), None)
    return problem or union([region for region in regions if not isinstance(region, Problem)], size)


_SHAPES: Mapping[str, Callable[[Any, _Size], Region | Problem]] = {"Polygon": _polygon, "MultiPolygon": _several}
