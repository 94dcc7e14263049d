"""Options that several commands share, and the picture they draw."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import UsageError
from ..numbers import printed
from .console import Console
from .progress import CHOICES

MOST_CHECKS = 2  # lines on one landmark; one far-off point disagrees with every other, and the worst comes first


class Parser(argparse.ArgumentParser):
    """argparse, but wrong use ends in one sentence like every other error."""

    def error(self, message: str) -> None:
        """Raise UsageError instead of ending the program."""
        raise UsageError(f"{self.prog}: {message} (see {self.prog} --help).")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but what a command does not know is refused by that command, which names what is near."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            options = [word for word in self._option_string_actions if word.startswith("--")]
            near = get_close_matches(rest[0].partition("=")[0], options, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return found, rest


def add_ct_choice(parser: argparse.ArgumentParser) -> None:
    """Which series and phase of a CT."""
    series = "DICOM series: its number in the printed list, part of its description, or its UID"
    parser.add_argument("--series", metavar="S", type=number_or_text, help=series)
    phase = "phase of a CT with several: its number, or text like 40%%"
    parser.add_argument("--phase", metavar="P", type=number_or_text, help=phase)


def add_output(parser: argparse.ArgumentParser) -> None:
    """How the command talks."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    kinds = "bar on a terminal, JSON lines, or nothing (default: auto)"
    parser.add_argument("--progress", choices=CHOICES, default="auto", help=kinds)
    closed = "stop when standard input is closed (for programs that start this one)"
    parser.add_argument("--cancel-on-stdin-close", action="store_true", help=closed)


def number_or_text(text: str) -> int | str:
    """A whole number is a place in a list; anything else is looked for."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else text


def say_findings(
    console: Console, notes: Iterable[str], warnings: Iterable[str], flags: Mapping[str, Iterable[str]]
) -> None:
    """What a person has to know before any number."""
    for sentence in warnings:
        console.say(f"  warning: {sentence}")
    for label_id, sentences in flags.items():
        told = list(sentences)
        for sentence in told[:MOST_CHECKS]:
            console.say(f"  check {schema.by_id(label_id).name}: {sentence}")
        if len(told) > MOST_CHECKS:
            console.say(
                f"  check {schema.by_id(label_id).name}: … and {len(told) - MOST_CHECKS} more, in its label file"
            )
    for sentence in notes:
        console.say(f"  note: {sentence}")


def say_rows(console: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    """The numbers that could be measured, as a table: name, value, unit, normal range; a C-arm view is one line.

    A star stands behind those that are warned of, such as those that depend on flagged points.
    """
    from ..measurements import View
    from ..measurements.doubt import DOUBT

    lines = []
    known = {row["id"]: row for row in rows if row["value"] is not None}
    for row_id, row in known.items():
        other = known.get(row_id.removesuffix("_lao") + "_cranial")
        if row_id.endswith("_lao") and other is not None:
            lines.append(
                (
                    row["name"].partition(",")[0],
                    " / ".join(View(row["value"], other["value"]).words),
                    "",
                    row["warning"],
                    False,
                )
            )
        elif not row_id.endswith("_cranial"):
            lines.append((row["name"], printed(row), row["unit"], row["normal"] or "", bool(row["warning"])))
    if not lines:
        return
    name, number = (max(len(line[column]) for line in lines) for column in (0, 1))
    for line in lines:
        normal = f"  ({line[3]})" if line[3] else ""
        star = " *" if line[4] else ""
        console.say(f"  {line[0]:<{name}}  {line[1]:>{number}} {line[2]:<4}{normal}".rstrip() + star)
    if any(line[4] for line in lines):
        console.say(f"  * warned of above, or {DOUBT}: look at those first")


def draw_report(volume: Any, annotation: Any, measurements: Any, folder: Path, name: str) -> None:
    """Draw ``report.png`` of the case ``name`` without a window, whatever matplotlib's backend is set to."""
    import os

    os.environ["MPLBACKEND"] = "Agg"
    from ..report import draw

    draw(volume, annotation, measurements, folder / "report.png", name=name)
