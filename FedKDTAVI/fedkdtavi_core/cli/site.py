"""``fedkdtavi site``: make, fill and look after a site dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import EXIT_INPUT, EXIT_OK, Cancelled
from . import options
from .console import Console, describe
from .progress import shown
from .stop import stoppable

DESCRIPTION = """\
A site dataset is a folder with the CTs of one hospital and what is known of them: what the Slicer module exports to
and training reads. CTs are kept without any identity under ids that are made here; which CT a case is stands in a
local key file beside the folder, which never travels."""
EPILOG = (
    "Exit codes: 0 done; 2 wrong use, or not writable; 4 input refused, or check found an error; 130 cancelled; "
    "1 anything unexpected."
)
# How labels are confirmed without 3D Slicer; the description is a JSON text inside the JSON file.
CONFIRM = (
    'to confirm a point where it is, write "confirmed" for "predicted" as the status in its description in '
    "landmarks.mrk.json (to correct it, move it; for one that is not there, write absent), and import again"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)

    def action(name: str, about: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=about, description=about)
        made.add_argument("folder", metavar="DIR", type=Path, help="folder of the site")
        return made

    init = action("init", "make a site dataset, or name one")
    init.add_argument("--id", help="name of the site in tables and provenance (default: the folder's name)")
    init.add_argument("--rename", action="store_true", help="let a site that is there already take another --id")
    init.add_argument("--note", default="", help="a sentence for people")
    add = action("add", "take CTs in, without identity")
    add.add_argument("ct", metavar="CT", nargs="+", help="NIfTI, NRRD or MHA file, or folder with DICOM files")
    options.add_ct_choice(add)
    imports = action("import", "put labels onto a case")
    labels = "folders written by annotate; or, with --case, .mrk.json and .seg.nrrd files of 3D Slicer"
    imports.epilog = f"What nobody has confirmed or corrected stays a prediction, whoever is named: {CONFIRM}."
    imports.add_argument("labels", metavar="LABELS", nargs="+", type=Path, help=labels)
    imports.add_argument("--case", metavar="ID", help="the case they belong to (default: found by the CT's digest)")
    adds = "take in the CT that a folder was made on, where the site has not got it"
    imports.add_argument("--add", action="store_true", help=adds)
    imports.add_argument(
        "--reviewer", metavar="PSEUDONYM", help="of who reviewed them; never a name: it travels with the labels"
    )
    imports.add_argument("--force", action="store_true", help="replace reviewed labels that differ")
    status = action("status", "count labels: truth, predicted, absent, unlabelled")
    worklist = action("worklist", "cases in the order in which labelling them helps most")
    worklist.add_argument("--head", action="append", choices=("hps", "ms", "calc"), default=[], help="only this head")
    worklist.add_argument("--most", metavar="N", type=int, help="only the first N")
    check = action("check", "read every case as training does and name what is wrong")
    for one in (add, imports, check):
        one.add_argument("--key", metavar="FILE", type=Path, help="local key (default: DIR.local-key.json beside DIR)")
        options.add_output(one)
    for one in (init, status, worklist):
        one.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do the action; returns the exit code."""
    console = Console(args.json, events=getattr(args, "progress", "") == "json")
    doing = {"init": _init, "add": _add, "import": _import, "status": _status, "worklist": _worklist, "check": _check}
    content = doing[args.action](args, console)
    exit_code = content.pop("exit_code", EXIT_OK)
    status = "done" if exit_code == EXIT_OK else "failed"
    console.result({"status": status, "exit_code": exit_code, "site": str(args.folder), **content})
    return exit_code


def _init(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..site.dataset import SITE, read_site
    from ..site.init import init_site

    before = read_site(args.folder).id if (args.folder / SITE).is_file() else None
    info = init_site(args.folder, args.id or "", args.note, rename=args.rename)
    here = "is now" if before is None else "is already" if before == info.id else f"was site {before} and is now"
    console.say(f"{args.folder}: {here} site {info.id}; add CTs with `fedkdtavi site add {args.folder} CT`.")
    return {"id": info.id, "synthetic": info.synthetic}


def _add(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..site.add import add_ct
    from ..site.localkey import default_key
    from . import naming

    paths, added = naming.expand(args.ct), []
    key = args.key or default_key(args.folder)

    def one(path: Path, progress: Any) -> dict[str, Any]:
        done = add_ct(args.folder, path, key=key, series=args.series, phase=args.phase, progress=progress)
        console.say(f"{path}: added as {done.case}")
        for note in done.notes:
            console.say(f"  note: {note}")
        return {"case": done.case, "ct_sha256": done.ct_sha256, "notes": done.notes}

    content = _each(args, console, paths, one, added)
    # Without a CT taken in, now or before, there is no key to keep.
    there = key.is_file()
    told = f" {key} tells which is which: keep it here." if there else ""
    console.say(f"{_done(added)} of {len(paths)} CTs added.{told}")
    return {**content, "key": str(key) if there else None}


def _import(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..annotation import Status
    from ..site.adopt import adopt
    from ..site.dataset import open_site
    from ..site.import_labels import find_case, import_labels
    from ..site.localkey import default_key

    key = args.key or default_key(args.folder)
    # Plain files are one set of labels of one case; annotate's folders are a case each.
    files = [path for path in args.labels if not path.is_dir()]
    groups = [[path] for path in args.labels if path.is_dir()] + ([files] if files else [])

    def one(group: list[Path], progress: Any) -> dict[str, Any]:
        if args.add and args.case is None:
            case = adopt(args.folder, group[0], key, progress=progress.part(0.0, 0.5))
        else:
            case = find_case(open_site(args.folder), group[0], key, args.case)
        rest = progress.part(0.5, 1.0) if args.add else progress
        done = import_labels(case, group, reviewer=args.reviewer, force=args.force, progress=rest)
        told = ", ".join(f"{label_id} {status}" for label_id, status in done.taken.items()) or "nothing new"
        console.say(f"{done.case}: {told}" + (f"; kept as reviewed: {', '.join(done.kept)}" if done.kept else ""))
        notes = list(done.notes)
        if args.reviewer is not None and not done.kept and set(done.taken.values()) <= {Status.PREDICTED}:
            notes.append(
                f"nothing in it was confirmed or corrected, so {args.reviewer} has reviewed nothing: {CONFIRM}."
            )
        for note in notes:
            console.say(f"  note: {note}")
        return {"case": done.case, "taken": done.taken, "kept": done.kept, "notes": notes}

    return _each(args, console, groups, one, [])


def _each(args: Any, console: Console, inputs: list[Any], one: Any, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """``one`` for every input; a failure stops none of the others, and the first one's exit code is the run's."""
    with (
        stoppable(on_stdin_close=args.cancel_on_stdin_close) as cancelled,
        shown(console, args.progress, cancelled, len(inputs)) as start,
    ):
        for index, value in enumerate(inputs):
            name = str(value[0] if isinstance(value, list) else value)
            try:
                done = one(value, start(index, name))
                outcomes.append({"input": name, "status": "done", **done})
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001 - whatever one input does to us, the others have their turn
                failure = describe(error, name)
                console.error(failure["message"])
                outcomes.append({"input": name, "status": "failed", "error": failure})
    first = next((outcome["error"] for outcome in outcomes if outcome["status"] == "failed"), None)
    content: dict[str, Any] = {"exit_code": first["exit_code"] if first else EXIT_OK, "inputs": outcomes}
    return content | ({"error": first} if first else {})


def _done(outcomes: list[dict[str, Any]]) -> int:
    return sum(outcome["status"] == "done" for outcome in outcomes)


def _status(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from .. import schema
    from ..site.dataset import STATES, open_site
    from ..site.status import counts

    site = open_site(args.folder)
    table = counts(site)
    console.say(f"{args.folder}: site {site.info.id}, {len(site.cases)} cases")
    if site.info.synthetic:
        console.say("  synthetic phantoms, not patients; not for clinical use")
    width = max(len(row.name) for row in schema.LABELS)
    console.say(f"  {'':<{width}}" + "".join(f"  {state:>10}" for state in STATES))
    for label_id, row in table.items():
        console.say(f"  {schema.by_id(label_id).name:<{width}}" + "".join(f"  {row[state]:>10}" for state in STATES))
    _say_skipped(console, site.unreadable)
    return {
        "id": site.info.id, "synthetic": site.info.synthetic, "cases": len(site.cases), "labels": table,
        "skipped": site.unreadable,
    }  # fmt: skip


def _worklist(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from dataclasses import asdict

    from .. import schema
    from ..site.dataset import open_site
    from ..site.status import worklist

    items, skipped = worklist(open_site(args.folder), args.head)
    for item in items[: args.most]:
        words = []
        if item.unlabelled:
            words.append("unlabelled: " + ", ".join(schema.by_id(i).name for i in item.unlabelled))
        if item.doubtful:
            sure = "" if item.confidence is None else f" ({item.confidence:.2f})"
            words.append(f"{len(item.predicted)} predicted, least sure of {schema.by_id(item.doubtful).name}{sure}")
        console.say(f"{item.case}  {'; '.join(words)}")
    if not items:
        console.say(f"{args.folder}: nothing {'else ' if skipped else ''}is left to label.")
    _say_skipped(console, skipped)
    return {"worklist": [asdict(item) for item in items[: args.most]], "left": len(items), "skipped": skipped}


def _check(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from dataclasses import asdict

    from ..site.check import ERROR, check_site

    with (
        stoppable(on_stdin_close=args.cancel_on_stdin_close) as cancelled,
        shown(console, args.progress, cancelled, 1) as start,
    ):
        problems = check_site(args.folder, key=args.key, progress=start(0, args.folder.name))
    errors = [problem for problem in problems if problem.level == ERROR]
    for problem in problems:
        console.say(f"{problem.level}: {problem.case or args.folder}: {problem.message}")
    counted = f"{_count(len(errors), 'error')}, {_count(len(problems) - len(errors), 'warning')}"
    content: dict[str, Any] = {"problems": [asdict(problem) for problem in problems]}
    if errors:
        sentence = (
            f"{args.folder}: {_count(len(errors), 'error')}, first: {errors[0].case or 'the site'}: {errors[0].message}"
        )
        console.error(sentence if args.json else f"{args.folder}: {counted}; each is named above.")
        content |= {"exit_code": EXIT_INPUT, "error": {"code": "input", "message": sentence, "exit_code": EXIT_INPUT}}
    else:
        console.say(f"{args.folder}: {counted}.")
    return content


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _say_skipped(console: Console, skipped: dict[str, str]) -> None:
    if skipped:
        console.say(
            f"  {_count(len(skipped), 'case')} could not be read and {'is' if len(skipped) == 1 else 'are'} left out:"
        )
    for case_id, sentence in skipped.items():
        console.say(f"  skipped {case_id}: {sentence}")
