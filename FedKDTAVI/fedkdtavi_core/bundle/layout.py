"""What lies where in a model bundle (MONAI Bundle layout), and the list of checksums that seals it."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from ..errors import BundleError

SUMS = "SHA256SUMS"
METADATA = "configs/metadata.json"
PROVENANCE = "provenance.json"
CARD = "docs/README.md"
MODELS = {model: f"models/{model}.onnx" for model in ("coarse", "student", "refiner", "calcium")}
OPTIONAL = {"refiner": "aligned_look", "calcium": "calcium_look"}  # there only if the metadata ask for their look
REQUIRED = (METADATA, *(name for model, name in MODELS.items() if model not in OPTIONAL))

# Data only: nothing that is run, and nothing that unpickles.
SUFFIXES = frozenset({".json", ".onnx", ".safetensors", ".md", ".txt", ".csv", ".png"})
PLAIN_NAMES = frozenset({"LICENSE", "NOTICE"})

MOST_FILES = 200
LARGEST_FILE = 1 << 30  # bytes; the networks here have tens of MB
LARGEST_BUNDLE = 2 << 30
LARGEST_JSON = 4 << 20

_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S(?:.*\S)?)")
_WINDOWS_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def check_name(name: str, bundle: str) -> None:
    """Refuse a file name that is absolute, leaves the bundle, or means different things on different systems."""
    reason = None
    parts = name.split("/")
    if not name or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        reason = "is not a path inside the bundle"
    elif ".." in parts:
        reason = "leaves the bundle"
    elif "" in parts or "." in parts or "\\" in name or any(ord(c) < 32 or c in '<>:"|?*' for c in name):
        reason = "holds characters or empty parts that are not allowed"
    elif any(_WINDOWS_RESERVED.fullmatch(part) or part[-1] in " ." for part in parts):
        reason = "is a name that Windows cannot store"
    if reason:
        raise BundleError(f"{bundle}: the file name {name!r} {reason}; do not use this bundle.")


def check_type(name: str, bundle: str) -> None:
    """Refuse a file that is not of a known kind of data."""
    path = PurePosixPath(name)
    if path.suffix.lower() not in SUFFIXES and path.name not in PLAIN_NAMES:
        kinds = ", ".join(sorted(SUFFIXES))
        raise BundleError(f"{bundle}: {name} is of a kind that has no place in a bundle (known: {kinds}); remove it.")


def parse_sums(content: bytes, bundle: str) -> dict[str, str]:
    """``SHA256SUMS`` (the format of sha256sum) -> {file name: hexadecimal digest}."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BundleError(f"{bundle}: {SUMS} is not text; the bundle is damaged, get it again.") from None
    sums: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{bundle}: line {number} of {SUMS} is not a checksum; the bundle is damaged.")
        digest, name = match.groups()
        check_name(name, bundle)
        if name in sums:
            raise BundleError(f"{bundle}: {SUMS} lists {name} twice; the bundle is damaged.")
        sums[name] = digest
    if not sums:
        raise BundleError(f"{bundle}: {SUMS} is empty; the bundle is damaged, get it again.")
    return sums


def format_sums(sums: dict[str, str]) -> bytes:
    """{file name: hexadecimal digest} -> ``SHA256SUMS``, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()


def bundle_digest(sums_content: bytes) -> str:
    """The bundle's identity: SHA-256 of its ``SHA256SUMS``, which seals all the rest; hexadecimal."""
    return hashlib.sha256(sums_content).hexdigest()
