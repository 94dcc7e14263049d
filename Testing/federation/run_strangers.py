"""Try every stranger, or those that are named, and write results/strangers.csv: `make test-federation`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from strangers import ground, jobs, people

from fedkdtavi_core.errors import FedKDTAVIError

PEOPLE = {
    "no-certificate": people.no_certificate,
    "another-authority": people.another_authoritys,
    "expired": people.expired,
    "another-name": people.anothers_name,
}
JOBS = {
    "code": jobs.with_code,
    "command": jobs.with_another_executor,
    "arguments": jobs.with_arguments,
    "workflow": jobs.with_another_workflow,
}
STRANGERS = PEOPLE | JOBS
TABLE = Path(__file__).with_name("results") / "strangers.csv"


def main() -> int:
    """Exit code 1 when one was let in, or nothing says why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="STRANGER", help=f"{', '.join(STRANGERS)} (default: all)")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    unknown = set(options.names) - set(STRANGERS)
    if unknown:
        parser.error(f"there is no stranger {', '.join(sorted(unknown))}; there are {', '.join(STRANGERS)}")
    folder, began, failed = Path(tempfile.mkdtemp(prefix="strangers-")), time.monotonic(), []

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} {text}", flush=True)

    try:
        with ground.Ground(folder / "ground", say) as place:
            for name in options.names or STRANGERS:
                say(f"== {name}")
                try:
                    if name in JOBS:
                        place.with_site()
                    result = STRANGERS[name](place)
                except (AssertionError, FedKDTAVIError) as error:
                    traceback.print_exception(error)
                    failed.append(name)
                    continue
                say(f"   {result}")
                ground.record(options.out, [result])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed:
        print(f"Not refused as it should be: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
