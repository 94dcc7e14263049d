"""Which phase of the heartbeat is taken, for every format alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .refusal import refuse

# Systole: the annulus is largest then, and the valve is sized in it (SCCT 2019 consensus: 30 to 40 % of R-R).
SYSTOLE_PERCENT = 35.0


@dataclass(frozen=True)
class Phase:
    """One phase on offer: its name and, where known, its part of the R-R interval in percent."""

    name: str
    percent: float | None = None

    @property
    def from_systole(self) -> float:
        """Distance to 35 % of the heartbeat in percent, around the cycle; unknown counts as the farthest, 50."""
        if self.percent is None:
            return 50.0
        return _apart(self.percent, SYSTOLE_PERCENT)


def evenly(count: int) -> list[Phase]:
    """Phases of a file, which does not name them: taken as evenly spread over the heartbeat, starting at 0 %.

    Of a single one nothing is known.
    """
    if count == 1:
        return [Phase("")]
    return [Phase(f"{100 * n / count:.0f}%", 100 * n / count) for n in range(count)]


def choose(path: Path, phases: Sequence[Phase], wish: str | int | None) -> list[int]:
    """Indices of the phases that fit ``wish``; the nearest to systole first when nothing is wished.

    A whole number up to the count of phases is a place in the list (from 1). "40%", or a larger number, is the nearest
    named percentage. Other text is looked for in the names. Raises InputError that lists the phases when none fits.
    """
    if wish is None:
        best = min(phase.from_systole for phase in phases)
        return [n for n, phase in enumerate(phases) if phase.from_systole == best]
    text = str(wish).strip().lower()
    if text.isdigit() and 1 <= int(text) <= len(phases):
        return [int(text) - 1]
    percent = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%?", text)
    known = [n for n, phase in enumerate(phases) if phase.percent is not None]
    if percent and float(percent[1]) <= 100 and known:
        apart = {n: _apart(phases[n].percent, float(percent[1])) for n in known}
        return [n for n in known if apart[n] == min(apart.values())]
    found = [n for n, phase in enumerate(phases) if text and text in phase.name.lower()]
    if not found:
        if len(phases) == 1 and not phases[0].name:
            raise refuse(path, f"has one phase and does not say which, so not {str(wish)!r}", "leave the phase out")
        names = ", ".join(dict.fromkeys(phase.name or "unnamed" for phase in phases))
        raise refuse(path, f"has no phase {str(wish)!r}", f"choose by place from 1 to {len(phases)}, or one of {names}")
    return found


def take(path: Path, count: int, wish: str | int | None, info: dict[str, Any]) -> int:
    """Index of the phase taken of a file with ``count`` that it does not name; ``info`` is told, if there are several.

    Raises InputError as :func:`choose`.
    """
    if count == 1 and wish is None:
        return 0
    offered = evenly(count)
    frame = choose(path, offered, wish)[0]
    if count > 1:
        info |= {"phase": offered[frame].name, "phase_assumed": True}
        info["notes"].append(
            f"Phase {frame + 1} of {count} taken ({offered[frame].name} of the heartbeat if they are evenly spread); "
            f"{'as asked for' if wish is not None else 'rule: nearest to 35 %'}."
        )
    return frame


def _apart(a: float, b: float) -> float:
    gap = abs(a - b) % 100
    return min(gap, 100 - gap)
