"""The settings of one process, in memory: a test must not change those of the person who runs it."""

from __future__ import annotations

from typing import Any


class Settings:
    """The calls of QSettings that ``slicer.util.settingsValue`` and the module use."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def value(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self._values[key] = value

    def contains(self, key: str) -> bool:
        return key in self._values

    def remove(self, key: str) -> None:
        """Remove a key and everything below it."""
        for name in [name for name in self._values if name == key or name.startswith(key + "/")]:
            del self._values[name]

    def allKeys(self) -> list[str]:
        return sorted(self._values)

    def sync(self) -> None:
        """Nothing is kept outside of memory."""
