"""Reads from a C++ header what PythonQt shows of a class: properties, signals, slots, invokables, enumerators."""

from __future__ import annotations

import re
from typing import Any

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_PREPROCESSOR = re.compile(r"^[ \t]*#[^\n]*(?:\\\n[^\n]*)*", re.MULTILINE)
_PROPERTY = re.compile(r"Q_PROPERTY\s*\(\s*([\w:<>, ]+?[\s*&]+)(\w+)\s+(?:READ|MEMBER|WRITE)")
_ENUM = re.compile(r"\benum\s+(?:class\s+)?\w*\s*(?::\s*\w+\s*)?\{([^}]*)\}")
_SECTION = re.compile(r"\b(public|protected|private|signals|Q_SIGNALS)(\s+(?:slots|Q_SLOTS))?\s*:(?!:)")
_FUNCTION = re.compile(r"([~\w]+)\s*\(")


def readClass(header: str, name: str) -> dict[str, Any] | None:
    """What PythonQt shows of class ``name`` itself, without its bases; None when this header does not define it.

    Signals keep their normalised argument types (``valueChanged(double)``), as ``connect`` compares them.
    """
    text = _PREPROCESSOR.sub("", _COMMENT.sub("", header))
    start = re.search(rf"\bclass\s+(?:\w+\s+)?{name}\s*(?:final\s*)?(:[^{{;]*)?\{{", text)
    if start is None:
        return None
    base = re.search(r"public\s+(?:virtual\s+)?([\w:]+)", start.group(1) or "")
    body = _block(text, start.end())
    found: dict[str, Any] = {"base": base.group(1) if base else None}
    found["properties"] = {match.group(2): match.group(1).strip() for match in _PROPERTY.finditer(body)}
    enumerators = [_enumerators(match.group(1)) for match in _ENUM.finditer(body)]
    found["constants"] = sorted({constant for group in enumerators for constant in group})
    signals, methods = _functions(_ENUM.sub(";", body))
    found["signals"] = sorted(signals)
    found["methods"] = sorted(methods - {name, f"~{name}"})
    return found


def normalized(signal: str) -> str:
    """A signal's signature as Qt compares it: no spaces, no ``const ...&``, no argument names."""
    name, _, rest = signal.partition("(")
    arguments = _split(rest.rsplit(")", 1)[0])
    return f"{name.strip()}({','.join(_type(argument) for argument in arguments)})"


def _block(text: str, start: int) -> str:
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return text[start:]


def _functions(body: str) -> tuple[set[str], set[str]]:
    """Signals with their arguments, and the names of public slots and invokables."""
    while (shorter := re.sub(r"\{[^{}]*\}", ";", body)) != body:
        body = shorter
    signals: set[str] = set()
    methods: set[str] = set()
    sections = list(_SECTION.finditer(body))
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        access, slots = section.group(1), section.group(2)
        for statement in body[section.end() : following.start() if following else None].split(";"):
            function = _FUNCTION.search(re.sub(r"Q_(?!INVOKABLE)\w+\s*(\([^)]*\))?", "", statement))
            if function is None:
                continue
            if access in ("signals", "Q_SIGNALS"):
                signals.add(normalized(function.string[function.start() :]))
                if "=" in function.string:  # a default argument makes a second, shorter signal
                    signals.add(normalized(re.sub(r",?[^,(]*=[^,)]*", "", function.string[function.start() :])))
            elif access == "public" and (slots or "Q_INVOKABLE" in statement):
                methods.add(function.group(1))
    return signals, methods


def _enumerators(text: str) -> list[str]:
    names = (re.match(r"\s*(\w+)", part) for part in text.split(","))
    return [name.group(1) for name in names if name]


def _split(arguments: str) -> list[str]:
    """Arguments of a function, split at the commas that are not inside of ``<>``."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in (part.strip() for part in parts) if part]


def _type(argument: str) -> str:
    argument = argument.split("=")[0].strip()
    if constant := re.match(r"const\s+(.*?)\s*&\s*\w*$", argument):
        argument = constant.group(1)
    pieces = re.match(r"((?:const\s+|unsigned\s+|long\s+)*[\w:]+(?:<.*>)?)\s*([*&]*)\s*\w*$", argument)
    kind = f"{pieces.group(1)}{pieces.group(2)}" if pieces else argument
    return re.sub(r"\s*([*&<>,])\s*", r"\1", kind)
