"""What is tried on a whole federation, one after the other, each leaving a row in a small table that is committed."""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import FedKDTAVIError


def main(
    about: str | None,
    attempts: Mapping[str, Callable[[Any], Any]],
    table: Path,
    ground: Callable[[Path, Callable[[str], None]], AbstractContextManager[Any]],
    record: Callable[[Path, list[Any]], None],
    *,
    failed_as: str,
    after_failure: Callable[[Any], None] = lambda place: None,
) -> int:
    """Try all, or those that are named; exit code 1 when one did not end as it should."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(attempts)} (default: all)")
    parser.add_argument("--out", type=Path, default=table)
    parser.add_argument("--folder", type=Path, help="where it all happens; kept (default: a temporary one, removed)")
    options = parser.parse_args()
    unknown = set(options.names) - set(attempts)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(attempts)}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix=f"{table.stem}-"))
    began, failed = time.monotonic(), []

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} {text}", flush=True)

    try:
        with ground(folder / "ground", say) as place:
            for name in options.names or attempts:
                say(f"== {name}")
                try:
                    result = attempts[name](place)
                except (AssertionError, FedKDTAVIError) as error:
                    traceback.print_exception(error)
                    failed.append(name)
                    after_failure(place)
                    continue
                say(f"   {result}")
                record(options.out, [result])
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    if failed:
        print(f"{failed_as}: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def merge(table: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]], order: Sequence[str] = ()) -> None:
    """Put rows into a table in place of older ones of the same name (first column).

    Args:
        order: of the names; what is not in it comes last, as it was.
    """
    name = columns[0]
    kept: dict[str, Mapping[str, str]] = {}
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            kept = {row[name]: row for row in csv.DictReader(file)}
    kept |= {row[name]: row for row in rows}
    known = [one for one in order if one in kept]
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept[one] for one in [*known, *(one for one in kept if one not in known)])
