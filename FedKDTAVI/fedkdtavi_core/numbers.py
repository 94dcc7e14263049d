"""How a number is printed, the same on the page, on the console and in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

FILE_DIGITS = 3  # decimals that files keep; what is printed is rounded from there, so both always agree
_DIGITS = {"": 2, "mm": 1, "deg": 0}  # by unit; mm2, mm3, HU and % none
_DIGITS_OF = {"slice_thickness": 2, "uncovered": 0}


def fixed(value: float, digits: int = 0, *, sign: bool = False) -> str:
    """``value`` with ``digits`` decimals, halves away from zero as people round (1.25 -> 1.3), never "-0".

    ``sign`` puts a plus before what is not negative.
    """
    if not math.isfinite(value):
        return str(value)
    kept = Decimal(repr(round(float(value), FILE_DIGITS)))
    rounded = kept.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    text = f"{abs(rounded) if rounded == 0 else rounded:f}"
    return f"+{text}" if sign and rounded >= 0 else text


def trimmed(value: float, digits: int = 2) -> str:
    """The same without zeros at its end: 1.25, 0.8, 3."""
    text = fixed(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def printed(row: Mapping[str, Any]) -> str:
    """The number of a row of measurements that has one, with the decimals of its unit."""
    return fixed(row["value"], _DIGITS_OF.get(row["id"], _DIGITS.get(row["unit"], 0)))
