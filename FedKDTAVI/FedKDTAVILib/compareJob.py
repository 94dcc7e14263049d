"""Two model bundles on a site's own reviewed cases, compared by the core in a child process; the outcome as a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from fedkdtavi_core import schema
from fedkdtavi_core.numbers import fixed

from .messages import Done, Failed, Message, ProgressMessage, helloProblem
from .process import Ended, Process


@dataclass(frozen=True)
class CompareResult:
    """``summary`` as the core's ``summarise`` gives it; or None, and why in one ``sentence`` (cancelled: empty)."""

    summary: dict[str, Any] | None = None
    sentence: str = ""


class CompareJob:
    """One comparison; ``onFinished`` is called once, however it ends.

    Args:
        process: runs the child; a QProcess unless something else is given.
    """

    def __init__(self, process: Process | None = None) -> None:
        self._process = process
        self._greeted = self._cancelled = False
        self._outcome: Done | Failed | None = None

    def start(
        self,
        old: Path,
        new: Path,
        site: Path,
        device: str,
        onProgress: Callable[[float, str], None],
        onFinished: Callable[[CompareResult], None],
    ) -> None:
        """Start it: bundles (folder or zip), folder of the site, ``auto``, ``cpu`` or ``cuda``.

        Raises:
            UsageError: Python is not found.
        """
        if self._process is None:
            from .process import ChildProcess

            self._process = ChildProcess()
        self._onProgress, self._onFinished = onProgress, onFinished
        # The child works in the module's folder, where a relative path would mean another place.
        arguments = ["-m", "fedkdtavi_core", "bundle", "compare", *(str(Path(p).absolute()) for p in (old, new, site))]
        arguments += ["--device", device, "--progress", "json", "--cancel-on-stdin-close"]
        self._process.start(arguments, self._take, self._end)

    def cancel(self) -> None:
        """Stop within a second; harmless when nothing runs."""
        if self._process is not None and self._process.isRunning():
            self._cancelled = True
            self._process.cancel()

    def _take(self, message: Message) -> None:
        if not self._greeted:
            self._greeted = True
            if problem := helloProblem(message):
                self._outcome = Failed("usage", problem)
                self._process.cancel()
        elif self._cancelled or self._outcome is not None:
            return
        elif isinstance(message, ProgressMessage):
            self._onProgress(message.fraction, message.message)
        elif isinstance(message, Done | Failed):
            self._outcome = message

    def _end(self, ended: Ended) -> None:
        if self._cancelled:
            result = CompareResult()
        elif isinstance(self._outcome, Done):
            result = CompareResult(self._outcome.result)
        elif isinstance(self._outcome, Failed):
            result = CompareResult(sentence=self._outcome.sentence)
        else:
            result = CompareResult(
                sentence=_("The comparison ended without a result (exit code {code}); compare again.").format(
                    code=ended.exitCode
                )
            )
        self._onFinished(result)


def comparisonText(summary: Mapping[str, Any], old: str, new: str) -> str:
    """The outcome as Markdown: what may be said first, then each label, then what speaks against the numbers."""
    said = (
        _("Synthetic phantoms, not patients; not for clinical use.")
        if summary["synthetic"]
        else _("Not for clinical use.")
    )
    head = (_("| Label | n | Old | New | Missing | Old minus new |"), "|---|---|---|---|---|---|")
    lines = [
        _("**On this site: {verdict}.**").format(verdict=summary["verdict"]),
        _("Old: {old}; new: {new}. Site {site}, {cases} cases with reviewed labels. {said}").format(
            old=old, new=new, site=summary["site"], cases=summary["cases"], said=said
        ),
        "\n".join((*head, *_rows(summary))),
        _("Medians of the errors in mm, Dice for calcium; {rule}.").format(rule=summary["rule"]),
    ]
    for name, count in summary["confirmed_as_predicted_by"].items():
        if count:
            text = _("Warning: {count} labels were confirmed as the {name} bundle had them: that favours it.")
            lines.append(text.format(count=count, name=name))
    for name, count in summary["learned_from"].items():
        if count and summary["only_learned_cases"]:
            text = _("Warning: the {name} bundle has learned from {count} of these cases: that favours it.")
            lines.append(text.format(count=count, name=name))
        elif count:
            text = _("Left out: {count} cases that the {name} bundle has learned from.")
            lines.append(text.format(count=count, name=name))
    lines += [_("Skipped {case}: {why}").format(case=case, why=why) for case, why in summary["skipped"].items()]
    for name, cases in summary["refused"].items():
        text = _("{name} gave nothing for {case}: {why}")
        lines += [text.format(name=name, case=case, why=why) for case, why in cases.items()]
    return "\n\n".join(lines)


def _rows(summary: Mapping[str, Any]) -> list[str]:
    rows = {schema.by_id(labelId).name: row for labelId, row in summary["landmarks"].items()}
    rows |= {_("all landmarks"): summary["all_landmarks"], _("calcium"): summary["calcification"]}
    lines = []
    for name, row in rows.items():
        if row["n"]:
            digits = 2 if row is summary["calcification"] else 1
            medians = (row["old_median"], row["new_median"])
            old, new = ("\u2013" if median is None else fixed(median, digits) for median in medians)
            missing = f"{row['old_missing']}/{row['new_missing']}"
            lines.append(f"| {name} | {row['n']} | {old} | {new} | {missing} | {row['sentence']} |")
    return lines
