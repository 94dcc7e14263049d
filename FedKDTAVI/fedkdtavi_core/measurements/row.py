"""One measured number as a person reads it, and the reason when there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..numbers import FILE_DIGITS


class NotMeasurable(ValueError):
    """A quantity cannot be measured; the text is the reason, as shown beside the empty value."""


@dataclass(frozen=True)
class Row:
    """One row of the table of measurements.

    Attributes:
        id: stable identifier in files.
        name: what is shown.
        value: the number in ``unit``, or None when it could not be measured.
        unit: unit of ``value``; empty for ratios.
        normal: normal or reference range with its source; empty where none is known.
        definition: how the number is defined.
        warning: what a reader has to know about this number; empty when nothing.
        group: ``suitability``, ``annulus``, ``coronary``, ``septum``, ``calcium`` or ``carm``.
        reason: why ``value`` is None; empty when it is not.
    """

    id: str
    name: str
    value: float | None
    unit: str
    normal: str
    definition: str
    warning: str
    group: str
    reason: str = ""

    def missing(self, reason: str) -> Row:
        """The same row without a value, with the reason why."""
        return replace(self, value=None, reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the number rounded to 1/1000 of its unit."""
        result = asdict(self)
        if self.value is not None:
            result["value"] = round(float(self.value), FILE_DIGITS)
        return result
