"""JSON files as everyone can read them: UTF-8, no NaN, NumPy values as plain numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic import replace_file
from ..errors import InputError

# A label file has a few kilobytes; anything of this size is something else.
MAX_BYTES = 50_000_000


def plain(value: Any) -> Any:
    """``value`` with NumPy scalars and arrays, enums and paths turned into what JSON knows; NaN and inf become None."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return plain(value.tolist())
    return str(value)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path``, indented, keys in the given order."""
    Path(path).write_bytes(_text(value))


def replace_json(path: Path, value: Any) -> None:
    """As :func:`write_json`; the file that is there is replaced whole, or stays. Raises OSError."""
    replace_file(path, _text(value))


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        what: what the file should be, for the error sentence ("a Slicer markups file").

    Raises:
        InputError: it cannot be read or does not hold a JSON object.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: too large for {what}; give a file written by annotate or 3D Slicer.")
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; give the path of {what}.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not {what}, its JSON is broken ({_short(error)}); write it again.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: is not {what}, it holds no JSON object; write it again.")
    return value


def _text(value: Any) -> bytes:
    return (json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:120]
