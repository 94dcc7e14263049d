"""How long each part of a run took."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Adds up wall-clock seconds by name.

    >>> clock = Clock()
    >>> with clock("reading"):
    ...     pass
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def split(self, name: str, parts: Mapping[str, Collection[str]], stages: Mapping[str, float]) -> None:
        """Replace ``name`` by ``parts``, each the sum of some of its ``stages``; what no part claims stays ``name``."""
        rest = self.seconds.pop(name, 0.0)
        for part, names in parts.items():
            taken = sum(float(stages.get(stage, 0.0)) for stage in names)
            self.seconds[part] = self.seconds.get(part, 0.0) + taken
            rest -= taken
        if rest > 0.001:
            self.seconds[name] = rest

    def rounded(self) -> dict[str, float]:
        """Seconds by name, to a millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}

    def sentence(self) -> str:
        """All parts with their share of the whole, on one line."""
        whole = sum(self.seconds.values()) or 1.0
        parts = [f"{name} {value:.2f} s ({100 * value / whole:.0f} %)" for name, value in self.seconds.items()]
        return f"time {whole:.2f} s: {', '.join(parts)}"
