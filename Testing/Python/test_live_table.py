"""The table of measurements as a person reads and copies it."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fedkdtavi_core.annotation import Annotation
from fedkdtavi_core.measurements import measure
from fedkdtavi_core.volume import Volume
from FedKDTAVILib.measurementTable import noteText, panelLines, tableText, valueText, warningsFirst, writeCsv

POINTS = {
    "hinge_rcc": (0.0, 12.0, 0.0),
    "hinge_lcc": (-11.4, -3.7, 0.0),
    "hinge_ncc": (8.3, -8.7, 0.0),
    "ostium_rca": (-2.0, 15.9, 7.0),
    "ms_lower": (9.5, 6.5, 0.001),
}


@pytest.fixture(scope="module")
def measurements():
    """Of a CT without anything to see in it: points are measured, sizes and calcium are not."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -50
    annotation = Annotation()
    for labelId, position in POINTS.items():
        annotation.landmarks[labelId].position = np.array(position)
        annotation.landmarks[labelId].status = "corrected"
    return measure(Volume(np.full((100, 100, 100), 40, np.int16), affine), annotation)


@pytest.fixture
def rows(measurements) -> dict[str, dict]:
    return {row["id"]: row for row in measurements.rows()}


def test_numbers_with_units(rows) -> None:
    assert valueText(rows["height_rca"]) == "7.0 mm"
    assert valueText(rows["root_angulation"]) == "0 °"
    assert valueText({**rows["height_rca"], "value": -0.01}) == "0.0 mm"
    assert valueText({**rows["annulus_area"], "value": 483.4}) == "483 mm²"


def test_no_number_where_nothing_can_be_measured(rows) -> None:
    for labelId in ("annulus_area", "calcium_total", "height_lca"):
        assert valueText(rows[labelId]) == "not measurable"
        assert noteText(rows[labelId])
        assert not any(character.isdigit() for character in valueText(rows[labelId]))
    assert noteText(rows["height_lca"]) == "the ostium is missing"


def test_warnings_come_first(measurements, rows) -> None:
    ordered = warningsFirst(measurements.rows())
    warned = [bool(row["warning"]) for row in ordered]
    assert warned == sorted(warned, reverse=True)
    assert sum(warned) >= 2
    assert {row["id"] for row in ordered} == set(rows)
    assert "LOW OSTIUM" in noteText(next(row for row in ordered if row["id"] == "height_rca"))


def test_panel_has_sections_the_one_that_warns_first(measurements, rows) -> None:
    lines = panelLines(measurements.rows())
    assert (lines[0].cells[0], lines[0].isHeading) == ("Coronary ostia", True)
    assert lines[1].cells == ("\u26a0 RCA height", "7.0 mm", "17.3±3.6")
    assert "LOW OSTIUM" in lines[1].tip and rows["height_rca"]["normal"] in lines[1].tip
    assert [line.cells[0] for line in lines if line.isHeading][-1] == "Suitability of the CT"
    assert sum(not line.isHeading for line in lines) == len(rows)
    area = next(line for line in lines if line.cells[0].endswith("Area"))
    assert area.cells[1] == "\u2013" and area.cells[2].startswith("not measurable: ")
    named = [line.cells[0] for line in lines]
    assert len(set(named)) == len(named)


def test_copied_text(measurements) -> None:
    text = tableText(warningsFirst(measurements.rows()), measurements.warnings)
    lines = text.splitlines()
    assert lines[0].startswith("WARNING: RCA height (ostium centre): LOW OSTIUM")
    head = next(number for number, line in enumerate(lines) if line.startswith("Measurement\t"))
    assert all(line.startswith("WARNING: ") for line in lines[:head])
    table = lines[head:-1]
    assert len(table) == 1 + len(measurements.rows())
    assert all(line.count("\t") == 4 for line in table)
    assert "not for clinical use" in lines[-1]


def test_csv(tmp_path, measurements) -> None:
    path = tmp_path / "table.csv"
    writeCsv(path, warningsFirst(measurements.rows()))
    with path.open(encoding="utf-8-sig", newline="") as file:
        read = list(csv.DictReader(file))
    byId = {row["id"]: row for row in read}
    assert float(byId["height_rca"]["value"]) == 7.0
    assert byId["annulus_area"]["value"] == ""
    assert byId["annulus_area"]["reason"]
    assert read[0]["warning"]
