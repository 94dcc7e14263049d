"""How a reader says no: one sentence that names the file, what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError


def refuse(path: Path, wrong: str, advice: str) -> InputError:
    """The error to raise for ``path``: "<path> <wrong>: <advice>."."""
    return InputError(f"{path} {wrong}: {advice}.")


def reason(error: BaseException, limit: int = 160) -> str:
    """The last line of a library's message, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[-1] if lines else type(error).__name__).rstrip(".")
    return text if len(text) <= limit else text[: limit - 1] + "…"
