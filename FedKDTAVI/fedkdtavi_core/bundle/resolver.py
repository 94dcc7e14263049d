"""Finding the bundle to use, and keeping the ones a user has imported."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from .. import folders
from ..atomic import replace_file
from ..errors import BundleError, UsageError
from . import layout
from .verify import Bundle, verify

_ACTIVE = "active"  # file in the user's bundle folder that names the digest in use


def user_folder() -> Path:
    """Where a user's imported bundles live: ``FedKDTAVI/bundles`` in the user's data folder of the system."""
    return folders.user_data() / "bundles"


def shipped_folders() -> list[Path]:
    """Folders that may hold the bundle shipped with this code, nearest first."""
    core = Path(__file__).resolve().parents[1]
    return [
        core.parent / "Resources" / "Models",  # beside the module, as Slicer installs it
        core.parent.parent / "Resources" / "Models",  # the repository
        core / "released_bundle",  # package data of the wheel
    ]


def resolve(path: str | Path | None = None) -> Bundle:
    """The verified bundle to use: ``path``, else the user's active one, else the one shipped with this code.

    A bundle that is found but fails is refused; the next place is not tried in its stead, since nobody would notice.

    Raises:
        BundleError: none is found, or the one found is refused.
    """
    if path is not None:
        return verify(path)
    if (active := _active_folder()) is not None:
        return verify(active)
    if (shipped := shipped_bundle()) is not None:
        return verify(shipped)
    places = ", ".join(str(place) for place in [user_folder(), *shipped_folders()])
    raise BundleError(f"No model bundle was found (looked in {places}); give one with --bundle, or train one.")


def shipped_bundle() -> Path | None:
    """Where the bundle shipped with this code lies, not verified; None without one.

    Raises:
        BundleError: several lie in one place.
    """
    return next((found for folder in shipped_folders() if (found := _bundle_in(folder)) is not None), None)


def import_bundle(path: str | Path) -> Bundle:
    """Verify a bundle, copy it into the user's data folder and make it the active one.

    The copy appears under its digest in one step, complete and verified, or not at all. Importing it again changes
    nothing.

    Raises:
        BundleError: the bundle is refused.
        UsageError: the user's data folder cannot be written.
    """
    bundle = verify(path)
    home = user_folder()
    place = home / bundle.digest
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not _is_sound(place):
            with tempfile.TemporaryDirectory(dir=home, prefix=".import-") as scratch:
                copy = Path(scratch) / "bundle"
                _write_files(bundle, copy)
                verify(copy)
                if place.exists():  # a damaged copy of an earlier time
                    place.rename(Path(scratch) / "damaged")
                copy.rename(place)
        activate(bundle.digest)
    except OSError as error:
        raise UsageError(f"{home}: the bundle cannot be stored there ({error}).") from error
    return verify(place)


def activate(digest: str) -> None:
    """Make an imported bundle the one that is used, for instance to take an older one back.

    Raises:
        UsageError: no bundle of this digest has been imported.
    """
    home = user_folder()
    if not (home / digest / layout.SUMS).is_file():
        raise UsageError(f"No bundle {digest[:12]} has been imported into {home}; import it first.")
    replace_file(home / _ACTIVE, f"{digest}\n".encode())


def deactivate() -> None:
    """Go back to the bundle shipped with this code; imported ones stay where they are."""
    (user_folder() / _ACTIVE).unlink(missing_ok=True)


def list_bundles() -> list[dict[str, Any]]:
    """The user's imported bundles, newest first: digest, path, active, name, version and, if refused, problem."""
    home = user_folder()
    if not home.is_dir():
        return []
    active = _active_folder()
    folders = [folder for folder in home.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    entries = []
    for folder in sorted(folders, key=lambda f: (-f.stat().st_mtime_ns, f.name)):
        entry: dict[str, Any] = {"digest": folder.name, "path": str(folder), "active": folder == active}
        try:
            bundle = verify(folder)
        except BundleError as error:
            entry["problem"] = str(error)
        else:
            entry |= {"name": bundle.metadata["name"], "version": bundle.metadata["version"]}
        entries.append(entry)
    return entries


def _active_folder() -> Path | None:
    home = user_folder()
    pointer = home / _ACTIVE
    try:
        digest = pointer.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{pointer}: it cannot be read ({error}); remove it or import a bundle again.") from error
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise BundleError(f"{pointer}: it names no bundle; remove it or import a bundle again.")
    return home / digest


def _bundle_in(folder: Path) -> Path | None:
    """The bundle that ``folder`` is or holds. Raises BundleError when it holds several."""
    if (folder / layout.SUMS).is_file():
        return folder
    if not folder.is_dir():
        return None
    found = [entry for entry in sorted(folder.iterdir()) if (entry / layout.SUMS).is_file() or entry.suffix == ".zip"]
    if len(found) > 1:
        raise BundleError(f"{folder}: several bundles lie there; name the one to use with --bundle.")
    return found[0] if found else None


def _is_sound(folder: Path) -> bool:
    try:
        return verify(folder).digest == folder.name
    except BundleError:
        return False


def _write_files(bundle: Bundle, folder: Path) -> None:
    for name in bundle.files:
        place = folder.joinpath(*name.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bundle.read(name))
    (folder / layout.SUMS).write_bytes(bundle.read_sums())


def copy_folder(bundle: Bundle, folder: str | Path) -> None:
    """Write a verified bundle as a folder that does not exist yet. Raises UsageError when it cannot be written."""
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder}: it exists already; choose another folder.")
    try:
        _write_files(bundle, folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UsageError(f"{folder}: the bundle cannot be written there ({error}).") from error
