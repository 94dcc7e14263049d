"""The committed table of names, and questions to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("names.json")


@dataclass(frozen=True)
class QtClass:
    """What PythonQt shows of a class of CTK or Slicer itself; ``base`` is a class of the table, or one of Qt."""

    name: str
    base: str | None
    properties: dict[str, str] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)


class Names:
    """Names read from Slicer's source; see generate.py."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.sources: dict[str, dict[str, str]] = content["sources"]
        self.modules: list[str] = content["modules"]
        self.functions: dict[str, dict[str, list[str]]] = content["python"]  # "slicer.util" -> name -> parameters
        self.classes = {name: QtClass(name, **known) for name, known in content["classes"].items()}

    @classmethod
    def read(cls, path: Path = TABLE) -> Names:
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def lineage(self, name: str) -> list[QtClass]:
        """The class and its bases as far as the table goes, nearest first; empty when it is not in the table."""
        found = []
        while name in self.classes:
            found.append(self.classes[name])
            name = self.classes[name].base or ""
        return found

    def qtBase(self, name: str) -> str:
        """The class of Qt that a class of the table builds on."""
        return self.lineage(name)[-1].base or "QObject"

    def signals(self, name: str) -> set[str]:
        return {signal for cls in self.lineage(name) for signal in cls.signals}

    def properties(self, name: str) -> dict[str, str]:
        return {key: kind for cls in reversed(self.lineage(name)) for key, kind in cls.properties.items()}

    def methods(self, name: str) -> set[str]:
        return {method for cls in self.lineage(name) for method in cls.methods}

    def constants(self, name: str) -> set[str]:
        return {constant for cls in self.lineage(name) for constant in cls.constants}

    def attributes(self, name: str) -> set[str]:
        """Everything that may stand behind the dot of an object of this class, apart from what Qt's base has."""
        signals = {signal.split("(")[0] for signal in self.signals(name)}
        return signals | set(self.properties(name)) | self.methods(name) | self.constants(name)


NAMES = Names.read() if TABLE.exists() else Names({"sources": {}, "modules": [], "python": {}, "classes": {}})
