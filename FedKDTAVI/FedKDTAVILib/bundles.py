"""The model bundles a person can choose from: thin over the core, with what the panel shows of each.

Imported bundles live in the user's data folder and outlive an update of the extension; the shipped one is always there
to be taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from fedkdtavi_core.errors import BundleError

_LONGEST_CARD = 200_000


@dataclass(frozen=True)
class BundleEntry:
    """One bundle.

    Attributes:
        title: name and version, for a list.
        digest: its identity, hexadecimal.
        path: folder or zip.
        inUse: the one that runs unless another is named.
        isShipped: came with the extension.
        problem: why it is refused, one sentence; "" when it is sound.
    """

    title: str
    digest: str
    path: Path
    inUse: bool
    isShipped: bool
    problem: str = ""


def listBundles() -> list[BundleEntry]:
    """The shipped bundle, then the imported ones, newest first. Each is verified: ask when the list is opened."""
    from fedkdtavi_core.bundle import list_bundles

    imported = []
    for entry in list_bundles():
        problem = entry.get("problem", "")
        title = _("refused: {digest}").format(digest=entry["digest"][:12]) if problem else _title(entry)
        imported.append(BundleEntry(title, entry["digest"], Path(entry["path"]), bool(entry["active"]), False, problem))
    shipped = _shipped(not any(entry.inUse for entry in imported))
    return ([shipped] if shipped else []) + imported


def bundleInUse() -> BundleEntry:
    """The bundle that runs unless another is named.

    Raises:
        BundleError: there is none, or it is refused.
    """
    from fedkdtavi_core.bundle import resolve

    bundle = resolve()
    return BundleEntry(bundle.name, bundle.digest, bundle.path, True, _isShipped(bundle.path))


def importBundle(path: str | Path) -> BundleEntry:
    """Copy a bundle, folder or zip, to the imported ones and use it from now on.

    Raises:
        BundleError: it is refused; the one in use stays.
        UsageError: it cannot be stored.
    """
    from fedkdtavi_core.bundle import import_bundle

    bundle = import_bundle(path)
    return BundleEntry(bundle.name, bundle.digest, bundle.path, True, False)


def chooseBundle(entry: BundleEntry) -> None:
    """Use this bundle from now on; an older one is taken back the same way, and so is the shipped one.

    Raises:
        BundleError: it is refused.
        UsageError: it is no longer there.
    """
    from fedkdtavi_core.bundle import activate, deactivate, verify

    if entry.isShipped:
        deactivate()
        return
    verify(entry.path)
    activate(entry.digest)


def cardText(entry: BundleEntry) -> str:
    """The bundle's model card, Markdown: trained on what, measured how, for what.

    Raises:
        BundleError: the bundle is refused.
    """
    from fedkdtavi_core.bundle import layout, verify

    bundle = verify(entry.path)
    if layout.CARD not in bundle.files:
        return _("{title} has no model card. Trained on unknown data; not for clinical use.").format(title=entry.title)
    return bundle.read(layout.CARD)[:_LONGEST_CARD].decode("utf-8", errors="replace")


def _title(entry: dict) -> str:
    return f"{entry['name']} {entry['version']}"


def _isShipped(path: Path) -> bool:
    from fedkdtavi_core.bundle.resolver import shipped_folders

    return any(path.resolve().is_relative_to(folder.resolve()) for folder in shipped_folders())


def _shipped(inUse: bool) -> BundleEntry | None:
    from fedkdtavi_core.bundle import verify
    from fedkdtavi_core.bundle.resolver import shipped_bundle

    path = None
    try:
        path = shipped_bundle()
        if path is None:
            return None
        bundle = verify(path)
    except BundleError as error:
        return BundleEntry(_("shipped, refused"), "", path or Path(), inUse, True, str(error))
    title = _("{name} (shipped)").format(name=bundle.name)
    return BundleEntry(title, bundle.digest, bundle.path, inUse, True)
