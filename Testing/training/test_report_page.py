"""The page of an evaluation: failures are counted, intervals decide what is called better, all is in one file."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training import tally
from fedkdtavi_training.report import command, figures, page, results

OSTIA = ("ostium_rca", "ostium_lca")


def write(path, *, shift=0.0, cases=12, missing=()):
    """Results of one arm: ``shift`` mm on every landmark; ``missing``: (case, label) that were not found."""
    rng = np.random.default_rng(3)
    rows = []
    for n in range(cases):
        row = {"case": f"case-{n}", "site": f"site-{n % 3 + 9}", "kind": "heart", "in_range": n % 2, "has_root": 1}
        row |= {"bundle": "ab" * 32, "status": "annotated", "reason": "", "seconds": 1}
        for label in schema.LANDMARK_IDS:
            error = round(float(rng.uniform(1, 3)) + shift, 3)
            row[f"{label}_mm"] = "inf" if (n, label) in missing else error
            row[f"{label}_confidence"], row[f"{label}_flags"] = round(float(rng.uniform(0.5, 1)), 3), ""
        for label in OSTIA:
            row[f"{label}_height_mm"], row[f"{label}_height_error_mm"] = 14 + n / 2, round(float(rng.normal(0, 1)), 3)
        row |= {"plane_deg": 3.0, "area_error_percent": 2.0, "calc_dice": 0.7, "calc_refused": 0}
        rows.append(row)
    tally.write_rows(path, rows)
    return path


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    gone = {(0, label) for label in schema.LANDMARK_IDS}
    return write(folder / "old.csv", shift=1.0, missing=gone), write(folder / "new.csv")


def test_one_page_with_named_sections_and_nothing_from_afar(arms, tmp_path, capsys):
    picture = figures.png(figures.cumulative, results.read([str(arms[1])]), (4, 2), dpi=40)
    (tmp_path / "case-0.png").write_bytes(picture)
    out = tmp_path / "page.html"
    words = [f"first={arms[0]}", str(arms[1]), "--out", str(out), "--figures", str(tmp_path / "figures")]
    assert command.main([*words, "--pictures", str(tmp_path)]) == 0
    text = out.read_text(encoding="utf-8")
    named = ("summary", "paired", "error-per-site", "landmark-cdf", "coronary-height", "reliability", "failures")
    assert re.findall(r"<section id='([\w-]+)'", text) == list(named)
    assert "synthetic phantoms" in text and "Not for clinical use" in text
    assert not re.search(r"(src|href)='(?!data:)", text) and "<script" not in text
    assert text.count("<img") == 4 + 1  # the figures, and the picture of the worst case
    assert len(list((tmp_path / "figures").glob("*.png"))) == 4
    assert "new against first" in text and "new is better by" in text


def test_names_are_text(arms, tmp_path):
    made = results.read([f"<b>x</b>={arms[0]}"])
    text = page.html(made, {}, None, "<i>")
    assert "<b>x</b>" not in text and "&lt;b&gt;x&lt;/b&gt;" in text and "<i>" not in text


def test_missing_counts_everywhere(arms):
    old, new = results.read([str(path) for path in arms])
    assert np.isinf(old.errors(schema.HEADS["hps"])).sum() == 5
    worst = results.failures([old, new], 1)[0]
    assert worst[1] is old and worst[2]["case"] == "case-0" and worst[0] == 20
    _, found = results.gains(old, new)["Hinge points + ostia"]
    assert found.verdict == "better" and found.mean == pytest.approx(1.0 + (20 - 3) / 12, abs=0.2)
    shown = page.html([old], {}, None, "t")
    assert "<td>5</td>" in shown and "missing; " in shown


def test_the_same_results_are_no_difference(arms):
    new = results.read([str(arms[1])])[0]
    assert {found.verdict for _, found in results.gains(new, new).values()} == {"no difference shown"}


def test_heights_and_confidences(arms):
    new = results.read([str(arms[1])])[0]
    means, differences, lost = figures.heights(new, "ostium_rca")
    rows = list(csv.DictReader(arms[1].open()))
    assert lost == 0 and differences[3] == float(rows[3]["ostium_rca_height_error_mm"])
    assert means[3] == pytest.approx(14 + 1.5 + differences[3] / 2)
    confidence, good = figures.stated(new)
    assert len(confidence) == 12 * 7 and good.all()


def test_sites_in_a_persons_order(arms):
    assert results.sites(results.read([str(arms[0])])) == ["site-9", "site-10", "site-11"]


def test_what_is_refused(arms, tmp_path):
    with pytest.raises(InputError, match="cannot be read as results"):
        results.read([str(tmp_path / "none.csv")])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"lacks the columns case, hinge_rcc_mm, .*; give a CSV of `fedkdtavi eval"):
        results.read([str(tmp_path / "other.csv")])
    (tmp_path / "other.md").write_text("# Landmarks\n\n| a | b |\n|---|---|\nLandmarks, and more\n")
    with pytest.raises(InputError, match="lacks the columns case"):
        results.read([str(tmp_path / "other.md")])
    (tmp_path / "none.csv").write_text("case,hinge_rcc_mm\n")
    with pytest.raises(InputError, match="holds no per-case results"):
        results.read([str(tmp_path / "none.csv")])
    with pytest.raises(UsageError, match="Two arms are called old"):
        results.read([str(arms[0]), str(arms[0])])
    with pytest.raises(UsageError, match="is no folder"):
        command.main([str(arms[0]), "--pictures", str(tmp_path / "none")])
