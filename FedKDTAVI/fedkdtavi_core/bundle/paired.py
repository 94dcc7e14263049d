"""Is one of two better? Paired differences with a bootstrap interval, and the one sentence that may be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# A landmark that is not given is worse than one that is 20 mm off, but not infinitely: it has to count in a mean.
WORST_MM = 20.0
# With fewer cases a bootstrap interval is too narrow to be believed.
LEAST_CASES = 8
_DRAWS = 4000


@dataclass(frozen=True)
class Paired:
    """Mean difference of paired values.

    Attributes:
        cases: number of cases, which are what is drawn.
        values: number of pairs.
        mean: of the differences; positive: the second is better.
        low, high: 95 % percentile interval, NaN where there are too few cases.
    """

    cases: int
    values: int
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``no difference shown`` or ``too few cases``."""
        if self.cases < LEAST_CASES:
            return "too few cases"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"

    def sentence(self, name: str = "new", unit: str = "mm", digits: int = 1) -> str:
        """ "new is better by 0.8 mm [0.3, 1.2]", with what may be said and no more."""
        unit = f" {unit}" if unit else ""
        if self.verdict == "too few cases":
            return f"too few cases ({self.cases}, at least {LEAST_CASES} are needed)"
        if self.verdict == "no difference shown":
            return (
                f"no difference shown ({self.mean:+.{digits}f}{unit} [{self.low:.{digits}f}, {self.high:.{digits}f}])"
            )
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"{name} is {self.verdict} by {abs(self.mean):.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"


def counted(error_mm: float) -> float:
    """An error as it enters a mean: at most :data:`WORST_MM`, which is also what a missing one (inf) counts."""
    return min(float(error_mm), WORST_MM)


def paired(differences: Mapping[str, Sequence[float]], seed: int = 0) -> Paired:
    """Compare by cases: values of one CT are not independent, so whole cases are drawn.

    Args:
        differences: case -> first minus second for each of its values (for errors), none of them infinite.
        seed: of the draws; the same differences give the same interval.
    """
    kept = [np.asarray(values, float) for values in differences.values() if len(values)]
    if not kept:
        return Paired(0, 0, np.nan, np.nan, np.nan)
    sums, counts = np.array([v.sum() for v in kept]), np.array([len(v) for v in kept])
    mean = float(sums.sum() / counts.sum())
    if len(kept) < LEAST_CASES:
        return Paired(len(kept), int(counts.sum()), mean, np.nan, np.nan)
    drawn = np.random.default_rng(seed).integers(len(kept), size=(_DRAWS, len(kept)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = (float(value) for value in np.percentile(means, [2.5, 97.5]))
    return Paired(len(kept), int(counts.sum()), mean, low, high)
