"""Who has no good papers is refused in the handshake, and the server's log says why; jobs: `make test-federation`."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(importlib.util.find_spec("nvflare") is None, reason="needs the federated extra"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from strangers import ground

    with ground.Ground(tmp_path_factory.mktemp("strangers"), lambda text: None) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no-certificate", "another-authority", "expired", "another-name"])
def test_a_stranger_is_refused_and_the_reason_is_told(place, name):
    from run_strangers import PEOPLE

    refusal = PEOPLE[name](place)
    assert refusal.reason
    assert place.loop.door()["came"] == {}


def test_the_table_that_is_shipped_holds_every_stranger_with_a_reason():
    from run_strangers import STRANGERS, TABLE

    with Path(TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(STRANGERS)
    assert all(row["reason"] and row["told_in"] for row in rows)
