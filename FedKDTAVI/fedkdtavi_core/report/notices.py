"""What a reader must know before any number: from the CT, the landmarks and the measurements, worst first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import schema
from ..annotation import Annotation, Status
from ..measurements.suitability import TOO_THICK
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
    present = [i for i, landmark in annotation.landmarks.items() if landmark.flags and landmark.position is not None]
    first += [f"Check {_with_flags(annotation, present)}"] if present else []
    care += [row["warning"] for row in measurements.rows() if row["group"] == "calcium" and row["warning"]]

    found = [Notice(f"▲  {words}", style.STOP) for words in _once(first)]
    together = " ".join(words for words in _once(care) if words not in _once(first))
    found += [Notice(f"▲  {together}", style.CAUTION)] if together else []
    line = sentence(measurements.suitability.line)
    tone = style.STOP if measurements.suitability.too_thick else style.CAUTION
    return [*found, Notice(line, tone if found else style.GOOD)]


def sentence(words: str) -> str:
    """First letter large, full stop at the end."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def _care(measurements: Measurements) -> list[str]:
    """The suitability's warnings that forbid nothing: slices over 1 mm, unknown phase, noise."""
    suitability = measurements.suitability
    grave = [TOO_THICK, *(["no contrast"] if suitability.refusal else [])]
    grave += list(suitability.uncovered)
    return [words for words in suitability.warnings if not any(part in words for part in grave)]


def _missing(annotation: Annotation) -> list[str]:
    missing = [
        i
        for i, landmark in annotation.landmarks.items()
        if landmark.position is None and landmark.status != Status.ABSENT
    ]
    if len(missing) == len(schema.LANDMARKS):
        return ["No landmark was found: nothing can be measured"]
    return [f"Not found: {_with_flags(annotation, missing)}"] if missing else []


def _with_flags(annotation: Annotation, label_ids: Iterable[str]) -> str:
    """Names with what the plausibility check says of them, once for those of which it says the same."""
    alike: dict[str, list[str]] = {}
    for label_id in label_ids:
        alike.setdefault("; ".join(annotation.landmarks[label_id].flags), []).append(schema.by_id(label_id).name)
    return ", ".join(", ".join(names) + (f" ({flags})" if flags else "") for flags, names in alike.items())


def _once(many: Iterable[str]) -> list[str]:
    return list({words.casefold(): words for words in map(sentence, many)}.values())
