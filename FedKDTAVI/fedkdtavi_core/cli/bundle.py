"""``fedkdtavi bundle``: verify, describe and pack a model bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK
from .console import Console

DESCRIPTION = "Verify, describe or pack a model bundle (MONAI Bundle layout, a folder or a zip)."
EPILOG = "Exit codes: 0 the bundle is sound; 2 wrong use; 5 the bundle is refused."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three actions and their options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    verify = actions.add_parser("verify", help="check checksums, paths, networks and versions")
    verify.add_argument("bundle", metavar="B", help="folder or zip")
    info = actions.add_parser("info", help="say what a bundle is")
    info.add_argument("bundle", metavar="B", nargs="?", help="folder or zip (default: the one in use)")
    pack = actions.add_parser("pack", help="seal a folder with checksums and pack it as one zip")
    pack.add_argument("bundle", metavar="B", type=Path, help="folder")
    pack.add_argument("--out", metavar="ZIP", type=Path, required=True, help="zip to write")
    pack.add_argument("--force", action="store_true", help="replace a zip that is there already")
    for action in (verify, info, pack):
        action.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do the action; a bundle that is refused is an error with exit code 5."""
    console = Console(args.json)
    content = {"verify": _verify, "info": _info, "pack": _pack}[args.action](args, console)
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
        console.say(f"head {head}: {', '.join(outputs) if isinstance(outputs, list) else outputs}")
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
