"""Settings that outlive a scene, kept in Slicer's user settings under ``FedKDTAVI/``.

>>> settings = ModuleSettings(slicer.app.userSettings())
>>> settings.device = "cpu"
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Protocol

from slicer.i18n import tr as _

from fedkdtavi_core.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")
_LONGEST = 40


class Store(Protocol):
    """The two calls of QSettings that are needed."""

    def value(self, key: str, default: Any = None) -> Any:
        """What is kept under ``key``."""
        ...

    def setValue(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``."""
        ...


class ModuleSettings:
    """Device, wheel folder and reviewer; whatever a damaged settings file holds, a usable value is read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def device(self) -> str:
        """Where the networks run: ``auto``, ``cpu`` or ``cuda``."""
        value = self._text("device")
        return value if value in DEVICES else DEVICES[0]

    @device.setter
    def device(self, value: str) -> None:
        if value not in DEVICES:
            raise UsageError(
                _("There is no device '{value}'; choose one of {known}.").format(value=value, known=", ".join(DEVICES))
            )
        self._store.setValue("FedKDTAVI/device", value)

    @property
    def wheelFolder(self) -> str:
        """Folder to install Python packages from, for a computer without network; "" for pip's index."""
        return self._text("wheelFolder")

    @wheelFolder.setter
    def wheelFolder(self, value: str) -> None:
        self._store.setValue("FedKDTAVI/wheelFolder", str(value or "").strip())

    @property
    def reviewer(self) -> str:
        """Pseudonym that goes into exported labels; one is made up, and kept, where none was chosen."""
        value = self._text("reviewer")
        if _problem(value):
            value = f"reviewer-{secrets.token_hex(3)}"
            self._store.setValue("FedKDTAVI/reviewer", value)
        return value

    @reviewer.setter
    def reviewer(self, value: str) -> None:
        value = str(value or "").strip()
        if problem := _problem(value):
            raise UsageError(problem)
        self._store.setValue("FedKDTAVI/reviewer", value)

    def _text(self, name: str) -> str:
        value = self._store.value(f"FedKDTAVI/{name}", "")
        return value if isinstance(value, str) else ""


def _problem(pseudonym: str) -> str:
    """Why a text cannot be a pseudonym; "" when it can."""
    if not pseudonym:
        return _("The reviewer needs a pseudonym, for instance reviewer-1.")
    if len(pseudonym) > _LONGEST or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", pseudonym):
        return _(
            "'{text}' cannot be a pseudonym; use up to {count} letters, digits, '.', '-' or '_', and no person's name."
        ).format(text=pseudonym, count=_LONGEST)
    return ""
