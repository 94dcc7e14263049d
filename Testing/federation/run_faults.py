"""Try every fault, or those that are named, and write results/faults.csv: `make test-federation`."""

from __future__ import annotations

from pathlib import Path

import attempts
from faults import clock, ground, network, server, sites

FAULTS = {
    "nan": sites.nan,
    "shapes": sites.shapes,
    "norm": sites.norm,
    "stale": sites.stale,
    "disk": server.disk_full,
    "killed-back": sites.killed_in_a_round_and_back,
    "between": sites.killed_between_rounds,
    "server": server.killed,
    "killed": sites.killed_in_a_round,
    "network": network.cut_and_back,
    "clock": clock.a_day_off,
}
ORDER = [
    "site killed in a round", "site killed in a round and started again", "site killed between rounds",
    "server killed and started again", "network cut and back", "an update with NaN", "wrong shapes", "absurd norm",
    "last round's update sent again", "disk full at the server", "a clock a day off",
]  # fmt: skip
TABLE = Path(__file__).with_name("results") / "faults.csv"


if __name__ == "__main__":
    raise SystemExit(
        attempts.main(
            __doc__,
            FAULTS,
            TABLE,
            ground.Ground,
            lambda table, results: ground.record(table, results, ORDER),
            failed_as="Not survived",
            after_failure=lambda place: place.end(*list(place.up)),
        )
    )
