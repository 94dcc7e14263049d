"""Printed numbers: halves away from zero, no "-0", and the same wherever a number is printed."""

from __future__ import annotations

import pytest
from tube_phantom import tube

from fedkdtavi_core.cli import options
from fedkdtavi_core.cli.console import Console
from fedkdtavi_core.measurements import View, measure
from fedkdtavi_core.numbers import fixed, printed, trimmed
from fedkdtavi_core.rowtext import GROUPS, brief_name, brief_normal, format_value


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1.25, 1, "1.3"), (-1.25, 1, "-1.3"), (0.25, 1, "0.3"), (2.675, 2, "2.68"), (0.5, 0, "1"), (2.5, 0, "3"),
        (-0.5, 0, "-1"), (-0.04, 1, "0.0"), (12, 0, "12"), (1.2496, 1, "1.3"), (1e6, 0, "1000000"),
        (float("nan"), 1, "nan"), (float("-inf"), 1, "-inf"),
    ],
)  # fmt: skip
def test_halves_go_away_from_zero(value: float, digits: int, text: str):
    assert fixed(value, digits) == text


def test_sign_and_trailing_zeros():
    assert [fixed(v, 1, sign=True) for v in (8.25, -8.25, -0.01)] == ["+8.3", "-8.3", "+0.0"]
    assert [trimmed(v) for v in (1.25, 0.8, 3.0, 10.0, 1.005)] == ["1.25", "0.8", "3", "10", "1.01"]


@pytest.mark.parametrize(("lao", "cranial", "text"), [(12.5, -0.5, "LAO 13 CAU 1"), (-2.5, 0.4, "RAO 3 CRA 0")])
def test_angles_of_a_view(lao: float, cranial: float, text: str):
    assert str(View(lao, cranial)) == text


def test_table_console_and_sentences_agree(capsys: pytest.CaptureFixture):
    root = tube(tilt=0, spacing=(0.6, 0.6, 1.25))
    annotation = root.annotation()
    annotation.landmarks["ostium_lca"].position = root.at(133, 8.25, 3)
    annotation.landmarks["ms_lower"].position = root.at(322, -2.25)
    result = measure(root.volume, annotation)
    rows = {row["id"]: row for row in result.rows()}
    options.say_rows(Console(), result.rows())
    lines = capsys.readouterr().out.splitlines()
    for row_id, text in (("height_lca", "8.3"), ("ms_lower_depth", "2.3"), ("slice_thickness", "1.25")):
        assert printed(rows[row_id]) == text
        assert format_value(rows[row_id])[0] == text
        (line,) = (line for line in lines if line.startswith(f"  {rows[row_id]['name']} "))
        assert text in line.split()
    told = [row for row in result.rows() if row["group"] != "carm" and row["value"] is not None]
    warned = [row["name"] for row in told if row["warning"]]  # views bring their warning along on their line
    starred = [line for line in lines if line.endswith(" *")]
    assert warned and len(starred) == len(warned)  # slices over 1 mm, and a low ostium
    assert all(line.startswith(f"  {name} ") for line, name in zip(starred, warned, strict=True))
    assert lines[-1] == "  * warned of above, or depends on flagged points: look at those first"
    assert "8.3 mm" in result.warnings[0]
    assert "slices 1.25 mm" in result.suitability_line


def test_views_stand_on_the_console_in_words(capsys: pytest.CaptureFixture):
    root = tube()
    result = measure(root.volume, root.annotation())
    options.say_rows(Console(), result.rows())
    out = capsys.readouterr().out
    for name, view in (("Three-cusp view", result.carm.three_cusp), ("Cusp-overlap view", result.carm.cusp_overlap)):
        (line,) = (line for line in out.splitlines() if name in line)
        assert str(view).replace(" C", " / C") in line
    assert "deg" not in out.split("Three-cusp view")[1] and "RAO -" not in out


def test_brief_names_are_short_and_unique_under_their_heading():
    root = tube()
    rows = measure(root.volume, root.annotation()).rows()
    brief = [(row["group"], brief_name(row)) for row in rows]
    assert len(set(brief)) == len(rows)
    assert {group for group, _ in brief} <= set(GROUPS)
    assert max(len(name) for _, name in brief) <= 24


def test_brief_normal_keeps_what_the_number_is_compared_with():
    assert brief_normal("men 483 ± 76, women 387 ± 59 (PubMed 23347864)") == "♂ 483±76, ♀ 387±59"
    assert brief_normal("15.5 ± 2.9 (8.8-24.3), severe aortic stenosis (Stolzmann 2009)") == "15.5±2.9"
    assert brief_normal("381 [227-632], TAVI patients (CIRCIMAGING.121.012884)") == "381 [227-632]"
    assert brief_normal("at most 1") == "at most 1"
