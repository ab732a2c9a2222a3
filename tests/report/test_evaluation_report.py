"""`report.html`: complete, safe, self-contained, and fit for a phone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from maskwright.evaluation import Comparison, Metrics, coco_metrics
from maskwright.report import write_report

NASTY = "<script>alert('x')</script> & \"quoted\" <img src=x onerror=alert(1)>"
VOID = {"meta", "img", "input", "br"}


class Structure(HTMLParser):
    """Elements and attributes of a page, and whether all that opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    @property
    def ids(self) -> list[str]:
        return [value for name, value in self.attributes if name == "id"]

    @property
    def links(self) -> list[str]:
        return [value for name, value in self.attributes if name in ("href", "src", "srcset", "action", "data")]


def text_of(page: str) -> str:
    return re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)


def test_page_is_well_formed_and_its_links_lead_somewhere(case, tmp_path) -> None:
    structure = Structure(case.report(tmp_path / "report.html"))
    assert structure.open == []
    assert len(structure.ids) == len(set(structure.ids))
    anchors = [link for link in structure.links if link.startswith("#")]
    assert len(anchors) > 3
    assert {anchor[1:] for anchor in anchors} <= set(structure.ids)


def test_page_loads_nothing(case, tmp_path) -> None:
    page = case.report(tmp_path / "report.html")
    assert all(link.startswith(("#", "data:image/webp;base64,")) for link in Structure(page).links)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_every_category_and_every_kind_has_its_numbers(make, tmp_path) -> None:
    case = make(tmp_path / "data", [f"kind {number}" for number in range(80)])
    page = case.report(tmp_path / "report.html")
    for number in range(80):
        assert page.count(f'<th scope="row">kind {number}</th>') == 2  # by masks and by boxes
    for kind in ("box", "mask"):
        assert f"{case.metrics()[kind]['AP']:.3f}" in text_of(page)


def test_names_are_text_and_never_markup(make, tmp_path) -> None:
    name = "<img src=x onerror=alert(1)>{}.png"
    case = make(tmp_path / "data", [NASTY, "</script><b>"], file_name=name)
    metrics = Metrics({**case.metrics(), NASTY: {NASTY: {NASTY: 0.5}}})
    page = case.report(tmp_path / "report.html", metrics, title=NASTY)
    structure = Structure(page)
    assert structure.open == []
    assert not any(attribute.startswith("on") for attribute, _ in structure.attributes)
    assert page.count("<script>") == 1
    assert "&lt;img src=x onerror=alert(1)&gt;1.png" in page
    assert "alert(" not in re.sub(r"&lt;.*?&gt;", "", text_of(page).replace("alert(&#39;x&#39;)", ""))


def test_groups_that_nobody_knows_become_tables(case, tmp_path) -> None:
    more = {
        "panoptic": {"PQ": 0.4321, "things": {"PQ": 0.1234}, "stuff": {"PQ": None}},
        "voc": {"07": {"mAP": 0.6789}, "per_category": {"deep": {"er": {"AP": 0.2468}}, "flat": {"AP": 0.1357}}},
        "many": {f"number {place}": place / 100 for place in range(20)},
        "epochs": 12,
        "rule": "07 & 12",
    }
    text = text_of(case.report(tmp_path / "report.html", Metrics({**case.metrics(), **more})))
    for shown in ("0.432", "0.123", "0.679", "0.247", "0.136", "number 19", "0.190", "epochs", "07 &amp; 12"):
        assert shown in text


def others(names: list[str]) -> dict[str, Any]:
    """The groups of the measures that can stand beside COCO's, each with these categories."""
    both = {"box": {"AP50": 0.61}, "mask": {"AP50": 0.62, "AP70": 0.63}}
    counts = {"images": 777, "seconds": 88.875, "max_detections": 999, "truncated_images": 666}
    return {
        "voc": {**both, "per_category": dict.fromkeys(names, both), **counts},
        "boundary": {"AP": 0.64, "per_category": {name: {"AP": 0.65} for name in names}, **counts},
        "panoptic": {"PQ": 0.66, "PQ_things": 0.67, "per_category": {name: {"PQ": 0.68} for name in names}, **counts},
        "semantic": {"mIoU": 0.69, "per_category": {name: {"IoU": 0.71} for name in names}, **counts},
        "augmented": {
            **both,
            "semantic": {"mIoU": 0.72, "per_category": {name: {"IoU": 0.73} for name in names}},
            **counts,
        },
    }


def test_groups_have_headings_in_words_and_no_bookkeeping(case, tmp_path) -> None:
    text = text_of(case.report(tmp_path / "report.html", Metrics({**case.metrics(), **others(["cat", "dog"])})))
    for heading in (
        "Pascal VOC", "Boundary AP", "Panoptic quality", "Semantic segmentation", "With test-time augmentation",
        "With test-time augmentation · Semantic segmentation", "Pascal VOC, by category",
    ):  # fmt: skip
        assert re.search(rf"\n *{heading} *\n", text), heading
    assert not any(number in text for number in ("777", "88.875", "999", "666", "truncated", "max detections"))
    assert all(f"0.{number}0" in text for number in (61, 62, 63, 64, 65, 66, 67, 68, 69, 71, 72, 73))


@pytest.mark.parametrize(("num_categories", "folded", "open_"), [(1, 0, 0), (2, 0, 5), (20, 0, 5), (21, 5, 0)])
def test_categories_of_a_group_are_shown_if_several_and_folded_if_many(
    case, tmp_path, num_categories, folded, open_
) -> None:
    names = [f"class {place}" for place in range(num_categories)]
    page = case.report(tmp_path / "report.html", Metrics({**case.metrics(), **others(names)}))
    assert len(re.findall("<summary>.*, by category", page)) == folded
    assert len(re.findall("<h3>.*, by category", page)) == open_


def test_a_row_of_a_category_has_its_kinds_side_by_side(case, browse, tmp_path) -> None:
    page = case.report(tmp_path / "report.html", Metrics({**case.metrics(), "voc": others(["cat", "dog"])["voc"]}))
    script = """
        const table = page.querySelector("table.sortable"), texts = row => [...row.cells].map(cell => cell.textContent);
        table.tHead.rows[1].cells[0].firstElementChild.click();
        table.tHead.rows[1].cells[0].firstElementChild.click();
        return [...table.rows].map(texts);
    """
    seen = browse(page, script)
    assert seen.console == []
    assert seen.value == [
        ["", "box", "mask"],
        ["category", "AP50", "AP50", "AP70"],
        ["dog", "0.610", "0.620", "0.630"],
        ["cat", "0.610", "0.620", "0.630"],
    ]


def test_classes_of_pixels_alone_make_a_report(case, tmp_path) -> None:
    metrics = Metrics({"semantic": others(["cat", "dog"])["semantic"], "images": 4, "seconds": 1.0})
    write_report(tmp_path / "report.html", case.dataset, None, metrics, title="t")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Structure(page).open == []
    assert "<strong>0.690</strong><span>mIoU</span>" in page
    assert not any(word in text_of(page) for word in ("COCO's rules", "detections", "Curves"))


def test_lvis_numbers_are_told_as_such(case, tmp_path) -> None:
    metrics = case.metrics()
    rare = {"mask": {**metrics["mask"], "APr": 0.11, "APc": 0.12, "APf": 0.13}, "federated": True}
    text = text_of(case.report(tmp_path / "report.html", Metrics({**metrics, **rare})))
    assert "by LVIS&#39;s rules" in text
    assert "r, c and f are the rare" in text
    assert "federated" not in text


def test_images_that_cannot_be_opened_are_named(case, tmp_path) -> None:
    first, second = case.dataset.records[:2]
    first.path.unlink()
    second.path.write_bytes(b"no image")
    page = case.report(tmp_path / "report.html")
    assert "not shown: image" in page
    assert "does not exist" in page
    assert first.path.name in page
    assert page.count("<img ") == 2 * (len(case.dataset.records) - 2)


@pytest.mark.parametrize(
    "shape",
    [
        {"num_detections": 0},
        {"num_objects": 0},
        {"num_detections": 0, "num_objects": 0},
        {"num_images": 1},
        {"has_masks": False},
        {"has_masks": False, "has_keypoints": True},
        {"has_keypoints": True},
        {"mode": "I;16"},
        {"mode": "L"},
        {"mode": "P"},
        {"names": ["only"]},
    ],
    ids=str,
)
def test_every_kind_of_data_has_a_report(make, tmp_path, shape) -> None:
    case = make(tmp_path / "data", **shape)
    page = case.report(tmp_path / "report.html")
    assert Structure(page).open == []
    num_shown = sum(
        bool(record.annotations) or any(result["image_id"] == record.id for result in case.results)
        for record in case.dataset.records
    )
    if shape.get("num_detections") != 0:
        assert page.count("<img ") == 2 * num_shown
    assert "nan" not in re.findall(r"[a-z]+", text_of(page).lower())


def test_a_thousand_categories_and_many_objects_stay_small(make, tmp_path) -> None:
    case = make(tmp_path / "data", [f"class {number}" for number in range(1203)], num_objects=60, num_detections=60)
    page = case.report(tmp_path / "report.html")
    assert len(page) < 4e6
    assert "class 1202" in page


def test_only_what_was_measured_is_shown(case, tmp_path) -> None:
    metrics = {name: value for name, value in case.metrics().items() if name != "mask"}
    page = case.report(tmp_path / "report.html", Metrics(metrics))
    assert 'id="kind-box"' in page
    assert 'id="kind-mask"' not in page


def test_the_most_confident_error_is_framed_and_told(make, tmp_path) -> None:
    case = make(tmp_path / "data", num_images=2, num_objects=1, num_detections=0)
    box = [50, 50, 10, 10]
    rle = {"size": [64, 64], "counts": [50 * 64 + 50, *[10, 54] * 9, 10, 64 * 64 - 59 * 64 - 60]}
    case.results.append({"image_id": 2, "category_id": 1, "score": 0.97, "bbox": box, "segmentation": rle})
    text = text_of(case.report(tmp_path / "report.html"))
    assert re.search(r"Most confidently wrong.*image2\.png.*framed: cat 0\.97", text, re.DOTALL)


def test_same_evaluation_gives_the_same_page(case, tmp_path) -> None:
    assert case.report(tmp_path / "a.html") == case.report(tmp_path / "b.html")


def test_nothing_measured_is_a_page_too(case, tmp_path) -> None:
    page = case.report(tmp_path / "report.html", Metrics({"images": 4, "panoptic": {"PQ": 0.25}}))
    assert "0.250" in page
    assert Structure(page).open == []


def test_numbers_are_those_of_the_metrics(make, tmp_path) -> None:
    case = make(tmp_path / "data", num_images=6)
    comparison = Comparison.of(case.results, case.dataset.to_coco(), 2)
    metrics = coco_metrics(comparison)
    write_report(tmp_path / "r.html", case.dataset, comparison, metrics, title="t")
    text = text_of((tmp_path / "r.html").read_text(encoding="utf-8"))
    for name, tables in metrics["per_category"].items():
        row = re.search(rf"\n\s*{name}\s+([\d\s.–]+?)\n\s*\n\s*\n", text)
        assert row
        assert f"{tables['mask']['AP']:.3f}" in text


WIDTHS = """
    const wide = [...page.body.querySelectorAll("*")].filter(element =>
        element.getBoundingClientRect().right > view.innerWidth + 1 && !element.closest(".scroll"));
    const names = wide.map(element => element.outerHTML.slice(0, 90));
    return {width: view.innerWidth, scrolls: page.documentElement.scrollWidth, wide: names};
"""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(make, browse, tmp_path, width) -> None:
    names = ["a rather long name of a category" * 2, "dog"]
    case = make(tmp_path / "data", names, file_name="quite_a_long_name_without_any_break_in_it_" * 3 + "{}.png")
    seen = browse(case.report(tmp_path / "report.html"), WIDTHS, width)
    assert seen.console == []
    assert seen.value == {"width": width, "scrolls": width, "wide": []}


def test_tables_are_sorted_by_a_click(make, browse, tmp_path) -> None:
    case = make(tmp_path / "data", [f"kind {place}" for place in range(12)])
    script = """
        const table = page.querySelector("table.sortable"), heads = [...table.tHead.rows[0].cells];
        const column = place => [...table.tBodies[0].rows].map(row => row.cells[place].textContent);
        const click = place => { heads[place].firstElementChild.click(); return column(place); };
        return {count: [click(1), click(1)], ap: click(5), sort: heads[5].ariaSort, names: click(0)};
    """
    seen = browse(case.report(tmp_path / "report.html"), script)
    assert seen.console == []
    falling, rising = ([int(text) for text in column] for column in seen.value["count"])
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(falling)
    known = [text for text in seen.value["ap"] if text != "–"]
    assert known == sorted(known, reverse=True)
    assert seen.value["ap"][len(known) :] == ["–"] * (12 - len(known))
    assert seen.value["sort"] == "descending"
    assert seen.value["names"] == sorted(seen.value["names"])


def test_curves_of_a_category_are_drawn_when_it_is_chosen(case, browse, tmp_path) -> None:
    script = """
        const part = page.querySelector(".curves"), select = part.querySelector("select");
        const state = () => [...part.querySelectorAll(".legend b")].map(b => b.textContent).concat(
            [...part.querySelectorAll(".plot > svg path")].map(path => path.getAttribute("d")));
        const choose = place => {
            select.selectedIndex = place; select.dispatchEvent(new Event("change")); return state(); };
        return {before: state(), chosen: choose(1), after: choose(0), names: [...select].map(o => o.textContent)};
    """
    seen = browse(case.report(tmp_path / "report.html"), script)
    assert seen.console == []
    assert seen.value["names"] == ["mean of all", "cat", "dog"]
    assert seen.value["before"] == seen.value["after"] != seen.value["chosen"]
    assert seen.value["chosen"][2] == f"{case.metrics()['per_category']['cat']['mask']['AP']:.3f}"
    assert all(re.fullmatch(r"M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)*", path) for path in seen.value["chosen"][3:])


def test_kinds_are_chosen_without_a_script(case, browse, tmp_path) -> None:
    page = re.sub(r"<script>.*?</script>", "", case.report(tmp_path / "report.html"), flags=re.DOTALL)
    script = """
        const seen = () => ["mask", "box"].filter(kind => page.querySelector(".panel-" + kind).offsetHeight > 0);
        const before = seen();
        page.querySelector("label[for=kind-box]").click();
        return [before, seen()];
    """
    assert browse(page, script).value == [["mask"], ["box"]]


def test_smuggled_scripts_do_not_run(make, browse, tmp_path) -> None:
    case = make(tmp_path / "data", ["<img src=x onerror='parent.bad = 1'>", "</script><script>parent.bad = 1</script>"])
    page = case.report(tmp_path / "report.html")
    seen = browse(page, "return {bad: window.bad || 0, options: page.querySelectorAll('option').length};")
    assert seen.value["bad"] == 0
    assert seen.console == []
    unsafe = page.replace("<footer>", "<script>parent.bad = 1</script><footer>")  # were escaping to fail
    assert browse(unsafe, "return window.bad || 0;").value == 0
