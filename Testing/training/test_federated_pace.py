"""The time left in rounds over many sites."""

from __future__ import annotations

import pytest

from fedkdtavi_training.federated import pace

pytestmark = pytest.mark.torch


def test_the_time_left_follows_the_rounds_whoever_is_missing(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(pace.time, "monotonic", lambda: float(next(clock)))
    said = []
    told = pace.Pace(said.append, every_s=0.0)
    told.begin("hps", 2, ("a", "b", "c", "d"))  # c has nothing to teach, b fails in the second round
    for site, done in (("a", 1), ("a", 2), ("b", 2), ("d", 2), ("a", 1), ("a", 2), ("d", 1), ("d", 2)):
        told.report(site, done, 2)
    assert [line.split(" |")[0] for line in said] == [
        *(f"hps: round 1/2, {what}" for what in ("a 1/2", "a 2/2", "b 2/2", "d 2/2")),
        *(f"hps: round 2/2, {what}" for what in ("a 1/2", "a 2/2", "d 1/2", "d 2/2")),
    ]
    assert said[3].endswith("40 s left")  # half is done
    assert said[-1].endswith("0 s left")
