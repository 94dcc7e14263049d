"""``fedkdtavi arms MATRIX``: run the units that have no result yet, then write the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import EXIT_OK, FedKDTAVIError, UsageError

from ..disk import TrainingError, write_bytes
from ..federated.pace import to_stderr
from . import matrix, table, unit


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = to_stderr) -> int:
    """Run the command. One unit that fails stops none of the others; the run then ends in an error that names it."""
    parser = Parser(
        prog="fedkdtavi arms",
        description="Run comparison arms as units (an arm with a seed), each ending in one small CSV of per-case "
        "results, and write the paired table of those that are there. Units that have their CSV are not run again; one "
        "that was cut off goes on.",
    )
    parser.add_argument("matrix", type=Path, help="JSON: arms, seeds, test hospitals, pairs")
    parser.add_argument("--arm", action="append", help="only this arm (may be given again)")
    parser.add_argument("--seed", type=int, action="append", help="only this seed (may be given again)")
    parser.add_argument("--table", action="store_true", help="run nothing; tables of the results that are there")
    parser.add_argument("--list", action="store_true", help="run nothing; say which units are done")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="of the evaluation")
    options = parser.parse_args(arguments)
    chosen = matrix.read(options.matrix)
    for name in options.arm or []:
        if name not in chosen.arms:
            raise UsageError(f"{options.matrix}: there is no arm {name}; there are {', '.join(chosen.arms)}.")
    wanted = [
        one
        for one in chosen.units()
        if (not options.arm or one.arm in options.arm) and (not options.seed or one.seed in options.seed)
    ]
    if options.list:
        coarse = bundles.resolve(chosen.bundle)
        print("\n".join(f"{one.name}: {unit.state(one, coarse)}" for one in wanted))
        return EXIT_OK
    failed = {} if options.table else _run(wanted, chosen, say, options.device)
    found = table.read(chosen)
    if found:
        made = table.rows(chosen, found)
        text = table.as_markdown(chosen, found, made)
        write_bytes(chosen.results / "paired.csv", table.as_csv(made).encode())
        write_bytes(chosen.results / "README.md", text.encode())
        print(text)
    elif not failed:
        raise UsageError(f"{chosen.results}: holds no result of this matrix yet; run it without --table.")
    if failed:
        first, why = next(iter(failed.items()))
        raise TrainingError(f"{len(failed)} of {len(wanted)} units failed; the first, {first}: {why}")
    return EXIT_OK


def _run(wanted: list[matrix.Unit], chosen: matrix.Matrix, say: Callable[[str], None], device: str) -> dict[str, str]:
    """Unit -> why it failed."""
    coarse, failed = bundles.resolve(chosen.bundle), {}
    for one in wanted:
        try:
            if unit.is_done(one, coarse):
                say(f"{one.name}: done before")
            else:
                unit.run(one, coarse, say, device)
        except FedKDTAVIError as error:
            failed[one.name] = str(error)
            say(f"{one.name}: {error}")
    return failed
