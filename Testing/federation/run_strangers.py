"""Try every stranger, or those that are named, and write results/strangers.csv: `make test-federation`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

import attempts
from strangers import ground, jobs, people

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


if __name__ == "__main__":
    raise SystemExit(
        attempts.main(__doc__, STRANGERS, TABLE, ground.Ground, ground.record, failed_as="Not refused as it should be")
    )
