"""What of an annotation's provenance may lie in a site dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# All that leaves: what says how the labels were made. Paths, series, and what readers note of headers stay here.
_KEYS = ("bundle", "trained_on", "coarse", "fine", "calcium", "contour", "code_version", "device", "opset")
_CT_KEYS = ("shape", "spacing_mm")


def anonymous_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What may leave of an annotation's provenance: how the labels were made, not where the CT came from."""
    kept = {key: provenance[key] for key in _KEYS if key in provenance}
    for look in ("coarse", "fine"):  # their notes quote errors of the system, which name folders
        if isinstance(kept.get(look), Mapping):
            kept[look] = {key: value for key, value in kept[look].items() if key != "notes"}
    ct = provenance.get("ct")
    ct = ct if isinstance(ct, Mapping) else {}
    kept["ct"] = {key: ct[key] for key in _CT_KEYS if key in ct}
    return kept
