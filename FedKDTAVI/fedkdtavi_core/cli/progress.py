"""How far the work is: a bar on a terminal, JSON lines for a program, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..progress import Progress
from .console import Console

CHOICES = ("auto", "bar", "json", "none")


@contextmanager
def shown(
    console: Console, kind: str, cancelled: Callable[[], bool], count: int
) -> Iterator[Callable[[int, str], Progress]]:
    """Show progress over ``count`` pieces of work.

    Args:
        console: takes the JSON lines.
        kind: one of :data:`CHOICES`; ``auto`` is a bar when standard error is a terminal, else nothing.
        cancelled: asked at every step.
        count: how many CTs there are.

    Yields:
        A function (index, name) -> the Progress of that CT.
    """
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "none"
    if kind == "bar":
        with _bar(cancelled, count) as start:
            yield start
    elif kind == "json":
        yield lambda index, name: Progress(_event_report(console, index, name, count), cancelled)
    else:
        yield lambda index, name: Progress(None, cancelled)


def _event_report(console: Console, index: int, name: str, count: int) -> Callable[[float, str], None]:
    def report(fraction: float, message: str) -> None:
        console.event(
            "progress", input=name, index=index, count=count, fraction=round(fraction, 4),
            overall=round((index + fraction) / count, 4), message=message,
        )  # fmt: skip

    return report


@contextmanager
def _bar(cancelled: Callable[[], bool], count: int) -> Iterator[Callable[[int, str], Progress]]:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", markup=False),
    ]
    console = RichConsole(stderr=True)
    # Lines for a terminal go above the bar; a file or a pipe gets them itself.
    both = sys.stdout.isatty()
    with RichProgress(*columns, console=console, transient=True, redirect_stdout=both) as bar:
        task = bar.add_task("", total=count, message="")

        def start(index: int, name: str) -> Progress:
            bar.update(task, description=name if count == 1 else f"{index + 1}/{count} {name}")
            return Progress(lambda f, message: bar.update(task, completed=index + f, message=message), cancelled)

        yield start
