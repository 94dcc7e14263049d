"""``fedkdtavi bundle``: verify, describe and pack a model bundle, compare two on a site's own cases."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, FedKDTAVIError
from . import options
from .console import Console
from .progress import shown
from .stop import stoppable

DESCRIPTION = "Verify, describe, pack or compare model bundles (MONAI Bundle layout, a folder or a zip)."
EPILOG = (
    "Exit codes: 0 the bundle is sound, or the comparison is done; 2 wrong use; 4 no case of the site can be read; "
    "5 a bundle is refused; 130 cancelled."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    verify = actions.add_parser("verify", help="check checksums, paths, networks and versions")
    verify.add_argument("bundle", metavar="B", help="folder or zip")
    info = actions.add_parser("info", help="say what a bundle is")
    info.add_argument("bundle", metavar="B", nargs="?", help="folder or zip (default: the one in use)")
    pack = actions.add_parser("pack", help="seal a folder with checksums and pack it as one zip")
    pack.add_argument("bundle", metavar="B", type=Path, help="folder")
    pack.add_argument("--out", metavar="ZIP", type=Path, required=True, help="zip to write")
    pack.add_argument("--force", action="store_true", help="replace a zip that is there already")
    compare = actions.add_parser(
        "compare",
        help="which of two bundles is better on a site's own confirmed and corrected labels",
        description="Run two bundles on every case of a site that has confirmed or corrected labels, and say with a "
        "95 % interval which is closer to them. Missing landmarks count.",
    )
    compare.add_argument("old", metavar="OLD", help="folder or zip")
    compare.add_argument("new", metavar="NEW", help="folder or zip")
    compare.add_argument("site", metavar="SITE", type=Path, help="folder of the site dataset")
    compare.add_argument("--out", metavar="CSV", type=Path, help="table with a row for each case and label")
    compare.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options.add_output(compare)
    for action in (verify, info, pack):
        action.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do the action; a bundle that is refused is an error with exit code 5."""
    console = Console(args.json, events=getattr(args, "progress", "") == "json")
    try:
        content = {"verify": _verify, "info": _info, "pack": _pack, "compare": _compare}[args.action](args, console)
    except FedKDTAVIError as error:
        return console.fail(error)  # here: a program that watches the events is told by one
    console.result({"status": "done", "exit_code": EXIT_OK, **content})
    return EXIT_OK


def _verify(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bundle import verify

    bundle = verify(args.bundle)
    console.say(f"{bundle.path}: {bundle.name} is sound, digest {bundle.digest}")
    return {"path": str(bundle.path), "name": bundle.name, "digest": bundle.digest}


def _info(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bundle import info, resolve

    content = info(args.bundle if args.bundle else resolve(None).path)
    for key in ("path", "name", "version", "digest", "schema_version", "intended_use", "trained_on"):
        console.say(f"{key.replace('_', ' ')}: {content[key]}")
    for head, outputs in content["heads"].items():
        read = content["readouts"].get(head)
        console.say(f"head {head}: {', '.join(outputs)}{f' (read as {read})' if read else ''}")
    size = sum(file["bytes"] for file in content["files"].values())
    console.say(f"files: {len(content['files'])}, {size / 1e6:.1f} MB")
    return content


def _pack(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bundle import pack
    from ..errors import UsageError

    if args.out.exists() and not args.force:
        raise UsageError(f"{args.out}: is there already; add --force to replace it or choose another name.")
    bundle = pack(args.bundle, args.out)
    console.say(f"{args.out}: {bundle.name} is packed, digest {bundle.digest}")
    return {"path": str(args.out), "name": bundle.name, "digest": bundle.digest}


def _compare(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bundle import verify
    from ..bundle.compare import compare, summarise, write_table
    from ..progress import Progress
    from ..site.dataset import open_site

    old, new = verify(args.old), verify(args.new)
    cases = max(len(open_site(args.site).cases), 1)
    with (
        stoppable(on_stdin_close=args.cancel_on_stdin_close) as cancelled,
        shown(console, args.progress, cancelled, cases) as start,
    ):
        result = compare(old, new, args.site, device=args.device, start=start)
        Progress(None, cancelled).check()
    summary = summarise(result)
    if args.out:
        write_table(args.out, result.pairs)
    _say_comparison(console, summary)
    ends = {"old": {"name": old.name, "digest": old.digest}, "new": {"name": new.name, "digest": new.digest}}
    return {**ends, **summary, "table": str(args.out) if args.out else None}


def _say_comparison(console: Console, summary: dict[str, Any]) -> None:
    from .. import schema

    said = "synthetic phantoms, not patients; not for clinical use" if summary["synthetic"] else "not for clinical use"
    console.say(f"site {summary['site']}, {summary['cases']} cases with reviewed labels ({said})")
    console.say(f"  {'':<14}{'n':>5}{'old':>8}{'new':>8}  missing old/new  median error, and old minus new")
    rows = {schema.by_id(label).name: row for label, row in summary["landmarks"].items()}
    rows["all landmarks"], rows["calcium Dice"] = summary["all_landmarks"], summary["calcification"]
    for name, row in rows.items():
        if row["n"]:
            middle = "".join(f"{'-' if row[k] is None else f'{row[k]:.2f}':>8}" for k in ("old_median", "new_median"))
            gone = f"{row['old_missing']}/{row['new_missing']}"
            console.say(f"  {name:<14}{row['n']:>5}{middle}  {gone:>15}  {row['sentence']}")
    for name, number in summary["confirmed_as_predicted_by"].items():
        if number:
            console.say(
                f"  warning: {number} labels were confirmed as the {name} bundle predicted them: that favours it"
            )
    for name, number in summary["learned_from"].items():
        if number and summary["only_learned_cases"]:
            console.say(f"  warning: the {name} bundle has learned from {number} of these cases: that favours it")
        elif number:
            console.say(f"  left out: {number} cases that the {name} bundle has learned from")
    for case, reason in summary["skipped"].items():
        console.say(f"  skipped {case}: {reason}")
    for name, cases in summary["refused"].items():
        for case, reason in cases.items():
            console.say(f"  {name} gave nothing for {case}: {reason}")
    console.say(f"  {summary['rule']}")
    console.say(f"On this site: {summary['verdict']}.")
