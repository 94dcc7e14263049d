"""The codes of the label schema as a terminology of Slicer, so that its selectors show them by name."""

from __future__ import annotations

import slicer

from .resources import resourcePath

TERMINOLOGY = resourcePath("Terminology", "FedKDTAVI.term.json")


def loadTerminology() -> str:
    """Load it into Slicer and return its name; loaded again, it takes its own place. Empty when it cannot be read."""
    return slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(TERMINOLOGY))
