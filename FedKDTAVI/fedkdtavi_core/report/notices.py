"""What a reader must know before any number: from the CT, the landmarks and the measurements, worst first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import schema
from ..annotation import Annotation, Status
from . import style

if TYPE_CHECKING:
    from ..measurements import Measurements


@dataclass(frozen=True)
class Notice:
    """One paragraph at the top of the page."""

    words: str
    tone: style.Tone


def notices(annotation: Annotation, measurements: Measurements) -> list[Notice]:
    """Every warning once. Dangers and gaps a line each; what only asks for care together; the suitability line last."""
    care = _care(measurements)
    first = [words for words in measurements.warnings if words not in care]
    first += [words for words in annotation.warnings if words not in first]
    first += _missing(annotation)
    doubts = [
        f"{schema.by_id(i).name} ({'; '.join(one.flags)})" for i, one in annotation.landmarks.items() if one.flags
    ]
    first += [f"Check {', '.join(doubts)}"] if doubts else []
    care += [row["warning"] for row in measurements.rows() if row["group"] == "calcium" and row["warning"]]

    found = [Notice(f"▲  {words}", style.STOP) for words in _once(first)]
    together = " ".join(words for words in _once(care) if words not in _once(first))
    found += [Notice(f"▲  {together}", style.CAUTION)] if together else []
    line = sentence(measurements.suitability.line)
    return [*found, Notice(line, style.CAUTION if found else style.GOOD)]


def sentence(words: str) -> str:
    """First letter large, full stop at the end."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def _care(measurements: Measurements) -> list[str]:
    """The suitability's warnings that forbid nothing: thick slices, unknown phase, noise."""
    suitability = measurements.suitability
    grave = ["no contrast"] if suitability.refusal else []
    grave += list(suitability.uncovered)
    return [words for words in suitability.warnings if not any(part in words for part in grave)]


def _missing(annotation: Annotation) -> list[str]:
    names = [
        schema.by_id(i).name
        for i, landmark in annotation.landmarks.items()
        if landmark.position is None and landmark.status != Status.ABSENT
    ]
    if len(names) == len(schema.LANDMARKS):
        return ["No landmark was found: nothing can be measured"]
    return [f"Not found: {', '.join(names)}"] if names else []


def _once(many: Iterable[str]) -> list[str]:
    return list({words.casefold(): words for words in map(sentence, many)}.values())
