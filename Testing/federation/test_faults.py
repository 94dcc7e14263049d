"""Two of the eleven faults on a real federation over mutual TLS; `make test-federation` tries them all."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from faults import ground, sites
from run_faults import ORDER, TABLE

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with ground.Ground(tmp_path_factory.mktemp("faults")) as made:
        yield made


def test_a_site_that_dies_in_a_round_and_comes_back_leaves_no_trace_in_the_weights(place):
    result = sites.killed_in_a_round_and_back(place)
    assert result.digest == "yes"
    assert "b has come" in result.named


def test_an_update_with_nan_is_left_out_of_its_round_by_name_and_the_site_is_welcome_in_the_next(place):
    result = sites.nan(place)
    assert re.match(r"b: refused: \S+ is not finite", result.named)


def test_the_shipped_table_names_site_and_reason_of_each_fault_and_each_was_survived():
    with Path(TABLE).open(encoding="utf-8", newline="") as file:
        rows = {row["fault"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(ORDER)
    assert {row["digest equals run without it"] for row in rows.values()} <= {"yes", "not applicable"}
    assert all(row["named site and reason"] and float(row["seconds"]) > 0 for row in rows.values())


def test_a_row_that_is_tried_again_takes_the_place_of_the_older_one(tmp_path):
    table = tmp_path / "results" / "faults.csv"
    old, new = (ground.Result(ORDER[0], what, "b: failed", "yes", 1.0) for what in ("old", "new"))
    ground.record(table, [ground.Result(ORDER[1], "other", "b", "yes", 2.0), old], ORDER)
    ground.record(table, [new], ORDER)
    lines = table.read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[ORDER[0], "new"], [ORDER[1], "other"]]
