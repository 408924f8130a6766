"""Lesion boxes from a table's two columns, each with a convention of its own."""

import csv
import gzip

import pytest

from screen.errors import UsageError
from tests.places import SHARED
from train.data.boxes import Box, lesion_sizes, tumor_boxes


def test_each_column_has_its_own_convention() -> None:
    assert tumor_boxes({"nih_bbox_1024px": "Mass:512,256,128,64"}) == [Box(0.5, 0.25, 0.625, 0.3125)]
    assert tumor_boxes({"thirdparty_boxes_1024px": "Nodule:512,256,640,320"}) == [
        Box(0.5, 0.25, 0.625, 0.3125)
    ]


def test_a_film_is_as_its_largest_lesion() -> None:
    nodule, mass = Box(0, 0, 0.05, 0.05), Box(0.5, 0.25, 0.625, 0.3125)
    named = lesion_sizes([(), (nodule,), (nodule, mass), (Box(0, 0, 0.125, 0.125),)])
    assert named.tolist() == ["", "under 64 px", "64 to 128 px", "128 px and more"]


def test_several_boxes_and_other_findings() -> None:
    row = {
        "nih_bbox_1024px": "Atelectasis:218,255,124,80;Mass:592,457,115,114",
        "thirdparty_boxes_1024px": "",
    }
    assert tumor_boxes(row) == [Box(592 / 1024, 457 / 1024, 707 / 1024, 571 / 1024)]
    assert tumor_boxes({"thirdparty_boxes_1024px": "Mass:0,0,8,8;Nodule:8,8,16,16"})[1].left == 8 / 1024
    assert tumor_boxes({"file": "a.png"}) == []


@pytest.mark.parametrize(
    "cell", ["Mass:1,2,3", "Mass", "Mass:1,2,3,x", "Mass:nan,2,3,4", "Mass:20,20,10,30", "Mass:900,0,1200,10"]
)
def test_what_is_no_box_is_refused(cell: str) -> None:
    with pytest.raises(UsageError, match="thirdparty_boxes_1024px"):
        tumor_boxes({"thirdparty_boxes_1024px": cell})


def test_a_box_holds_points_and_has_a_share_of_the_film() -> None:
    box = Box(0.25, 0.5, 0.5, 0.75)
    assert box.holds(0.3, 0.6)
    assert not box.holds(0.6, 0.3)
    assert box.area == pytest.approx(1 / 16)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_every_box_of_the_real_table() -> None:
    with (SHARED / "cxr/labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    boxes = {row["file"]: found for row in rows if (found := tumor_boxes(row))}
    positives = {row["file"] for row in rows if row["tumor"] == "1"}
    assert len(boxes) == 237  # 119 of NIH's own list, 78 of JSRT, 40 of other readers
    assert boxes.keys() <= positives
    # JSRT gives the nodule's centre at 2048 pixels as well: the middle of its box.
    jsrt = next(row for row in rows if "centre x,y at 2048 px: 1634,692" in row["details"])
    (box,) = boxes[jsrt["file"]]
    assert (box.left + box.right) / 2 == pytest.approx(1634 / 2048, abs=1e-3)
    assert (box.top + box.bottom) / 2 == pytest.approx(692 / 2048, abs=1e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_nih_column_is_the_nih_list() -> None:
    with gzip.open(SHARED / "nih-labels/BBox_List_2017.csv.gz", "rt", newline="") as stream:
        published = [(line[0], *map(float, line[2:6])) for line in list(csv.reader(stream))[1:]]
    with (SHARED / "cxr/labels.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if "Mass" in row["nih_bbox_1024px"]]
    for row in rows:
        (box,) = tumor_boxes(row)
        assert any(
            (box.left * 1024, box.top * 1024) == pytest.approx((x, y), abs=0.6)
            and (box.right * 1024, box.bottom * 1024) == pytest.approx((x + w, y + h), abs=1.1)
            for name, x, y, w, h in published
            if name == row["nih_image_index"]
        )
