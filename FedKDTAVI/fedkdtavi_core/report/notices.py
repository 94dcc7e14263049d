"""What a reader must know before any number: collected from the CT, the landmarks and the measurements, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import schema
from ..annotation import Annotation, Status
from . import style
from .table import GROUPS


@dataclass(frozen=True)
class Notice:
    """One sentence at the top of the page."""

    words: str
    tone: style.Tone


def notices(annotation: Annotation, rows: Sequence[Mapping[str, Any]]) -> list[Notice]:
    """All warnings, each once: of the whole CT, of missing and doubtful landmarks, of single numbers."""
    found = [Notice(sentence(words), style.STOP) for words in annotation.warnings]
    missing = [
        schema.by_id(i).name
        for i, landmark in annotation.landmarks.items()
        if landmark.position is None and landmark.status != Status.ABSENT
    ]
    if len(missing) == len(schema.LANDMARKS):
        found.append(Notice("No landmark was found: nothing can be measured.", style.STOP))
    elif missing:
        found.append(Notice(f"Not found: {', '.join(missing)}.", style.STOP))
    for label_id, landmark in annotation.landmarks.items():
        found += [Notice(sentence(f"{schema.by_id(label_id).name}: {flag}"), style.STOP) for flag in landmark.flags]
    by_words: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.get("warning"):
            by_words.setdefault((row["group"], row["warning"]), []).append(row["name"])
    for (group, words), names in by_words.items():
        about = names[0] if len(names) == 1 else GROUPS.get(group, group.capitalize())
        tone = style.STOP if group in ("suitability", "coronary") else style.CAUTION
        found.append(Notice(sentence(words if group == "suitability" else f"{about}: {words}"), tone))
    unique = {notice.words.casefold(): notice for notice in found}.values()
    return sorted(unique, key=lambda notice: notice.tone is not style.STOP)


def sentence(words: str) -> str:
    """First letter large, full stop at the end."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")
