"""Try every fault, or those that are named, and write results/faults.csv: `make test-federation`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

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


def main() -> int:
    """Exit code 1 when a fault was not survived as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"{', '.join(FAULTS)} (default: all)")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--folder", type=Path, help="where it all happens; kept (default: a temporary one, removed)")
    options = parser.parse_args()
    unknown = set(options.names) - set(FAULTS)
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    began, failed = time.monotonic(), []

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} {text}", flush=True)

    try:
        with ground.Ground(folder, say) as place:
            for name in options.names or FAULTS:
                say(f"== {name}")
                try:
                    result = FAULTS[name](place)
                except (AssertionError, ground.FedKDTAVIError) as error:
                    traceback.print_exception(error)
                    failed.append(name)
                    place.end(*list(place.up))
                    continue
                say(f"   {result}")
                ground.record(options.out, [result], ORDER)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    if failed:
        print(f"Not survived: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
