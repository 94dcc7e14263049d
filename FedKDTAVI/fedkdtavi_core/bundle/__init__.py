"""The model bundle: what training hands over, verified before anything of it runs."""

from .pack import pack, seal
from .resolver import activate, deactivate, import_bundle, list_bundles, resolve
from .sessions import Session
from .verify import Bundle, info, verify

__all__ = [
    "Bundle",
    "Session",
    "activate",
    "deactivate",
    "import_bundle",
    "info",
    "list_bundles",
    "pack",
    "resolve",
    "seal",
    "verify",
]
