"""The Python packages that Slicer lacks: which, how large, and their installation when a person has agreed to it.

Nothing here runs by itself. ``slicer.packaging.pip_ensure`` is not used: it tells no sizes, takes no folder of wheels,
opens a dialog of its own on failure, and does nothing in Slicer's testing mode. pip runs as Slicer runs it, as a child
of PythonSlicer, and every version that is installed already goes in as a constraint: nothing of Slicer's is exchanged.
It can be cancelled: ``onIdle`` raises :class:`InstallCancelled`. Killing PythonSlicer ends only a launcher, so pip runs
under the core's own watch, which ends it when its standard input closes, and when its parent is gone.

pip takes an upgrade back after an error of its own only. What it leaves half done when it is stopped is one of the
packages asked for, or one that was not there before, as all others are held by the constraints:
:mod:`~.installRemains` makes it count as missing. Long waits for a network that is not there are cut short by pip's own
``--timeout`` and ``--retries``.

>>> plan = installPlan()
>>> if plan.packages and agreed(plan.text):
...     install(plan)
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from fedkdtavi_core.errors import FedKDTAVIError

from . import ownPackages
from .blockingProcess import BlockingProcess
from .installRemains import InstallRemains
from .installSentences import importSentence, pipSentence
from .process import Ended
from .resources import resourcePath

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REQUIREMENTS = resourcePath("requirements.txt")
# Any of these is "onnxruntime" to Python; two of them overwrite each other's files.
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
# MB to download with what the package needs that Slicer has not: wheels for Windows and Python 3.12, November 2026.
APPROXIMATE_MB = {"onnxruntime": 17.2, "nibabel": 3.4, "matplotlib": 12.3}
# A firewall that drops packets must not keep a person waiting for minutes.
_PATIENCE = ["--retries", "1", "--timeout", "10"]
_WATCHED = (
    "import runpy; from fedkdtavi_core.cli.stop import stoppable\n"
    "with stoppable(on_stdin_close=True): runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
_PIP = ["-c", _WATCHED, "install", "--no-input", "--disable-pip-version-check", "--prefer-binary", *_PATIENCE]
_TIMEOUT_S = 5.0
_TRIAL = (
    "from fedkdtavi_core import folders; folders.use_packages(); "
    "import nibabel, onnxruntime; onnxruntime.get_available_providers()"
)


class InstallError(FedKDTAVIError):
    """The packages could not be installed, or do not run; ``log`` is what pip or Python said."""

    code = "install"

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


class InstallCancelled(InstallError):
    """A person wants no installation after all."""

    code = "cancelled"

    def __init__(self, sentence: str = "", log: str = "") -> None:
        super().__init__(sentence or _("Cancelled; nothing was installed."), log)


@dataclass(frozen=True)
class Package:
    """A package to install: ``name``, ``version`` ("" while unknown), ``megabytes`` to download (None: unknown)."""

    name: str
    version: str
    megabytes: float | None


@dataclass(frozen=True)
class InstallPlan:
    """What an installation would do.

    Attributes:
        requirements: for pip, as ``name>=version``.
        packages: what will be downloaded; with what they need in turn only if ``exact``.
        exact: sizes and versions were asked for, not estimated.
        wheelFolder: where the wheels come from; "" for pip's own index.
    """

    requirements: list[str]
    packages: list[Package]
    exact: bool
    wheelFolder: str = ""

    @property
    def megabytes(self) -> float:
        """MB to download in all, as far as known."""
        return sum(package.megabytes or 0.0 for package in self.packages)

    @property
    def text(self) -> str:
        """The question to a person, a package a line."""
        lines = [_("FedKDTAVI needs Python packages that 3D Slicer does not ship:")]
        for package in self.packages:
            size = _("size unknown") if package.megabytes is None else f"{package.megabytes:.1f} MB"
            about = "" if self.exact or package.megabytes is None else _("about ")
            lines.append(f"  {' '.join((package.name, package.version)).strip()}: {about}{size}")
        total = _("{size:.0f} MB in all").format(size=max(1.0, self.megabytes))
        lines.append(total if self.exact else _("about {total} (an estimate)").format(total=total))
        where = self.wheelFolder or _("the Python package index (pypi.org, or what pip is set to)")
        lines.append(_("They come from {where}. What 3D Slicer has installed stays as it is.").format(where=where))
        if ownPackages.areNeeded():
            place = ownPackages.packagesFolder()
            lines.append(_("The folder of 3D Slicer cannot be written, so they go into {place}.").format(place=place))
        return "\n".join(lines)


def requirements() -> list[Requirement]:
    """What the core needs, from Resources/requirements.txt."""
    from packaging.requirements import Requirement

    lines = (line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def installedVersion(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def runtimes() -> list[str]:
    """Which of :data:`RUNTIMES` are installed."""
    return [name for name in RUNTIMES if installedVersion(name) is not None]


def missing() -> list[Requirement]:
    """Requirements that are not installed, or not in the version needed.

    Raises:
        InstallError: several packages provide onnxruntime at once; that has to be put right first.
    """
    from packaging.requirements import Requirement

    ownPackages.use()
    importlib.invalidate_caches()
    found = runtimes()
    if len(found) > 1:
        names = ", ".join(found)
        raise InstallError(
            _("{names} are installed together and break each other; uninstall all of them, then install one.").format(
                names=names
            )
        )
    wanted = []
    for requirement in requirements():
        if requirement.name == "onnxruntime" and found:
            # The one that is there was somebody's choice: it is updated, never joined by another.
            requirement = Requirement(f"{found[0]}{requirement.specifier}")
        version = installedVersion(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wanted.append(requirement)
    return wanted


def deviceNote(device: str) -> str:
    """A sentence where the device asked for cannot be used with what is installed; "" otherwise."""
    if device == "cuda" and runtimes() == ["onnxruntime"]:
        return _(
            "The GPU is chosen, but onnxruntime is installed without GPU support, so the CPU will be used; for the "
            "GPU uninstall onnxruntime and install onnxruntime-gpu."
        )
    return ""


def constraints(wanted: Iterable[Requirement]) -> list[str]:
    """``name==version`` of all that is installed, but for what is ``wanted`` in another version."""
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    free = {canonicalize_name(requirement.name) for requirement in wanted}
    lines: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if not name or not version or canonicalize_name(name) in free:
            continue
        with suppress(InvalidVersion):
            Version(version)
            lines.setdefault(canonicalize_name(name), f"{canonicalize_name(name)}=={version}")
    return sorted(lines.values())


def installPlan(
    wheelFolder: str = "", *, askIndex: bool = False, onIdle: Callable[[], None] | None = None
) -> InstallPlan:
    """What has to be installed.

    Args:
        wheelFolder: folder with wheels, for a computer without network; "" for pip's own index.
        askIndex: look up exact versions and sizes in pip's index; without it, nothing is sent anywhere.
        onIdle: called some twenty times a second meanwhile; may raise InstallCancelled.

    Returns:
        The InstallPlan; without packages when nothing is missing.

    Raises:
        InstallError: see :func:`missing`; or the folder (or index) does not hold what is needed.
    """
    wanted = missing()
    lines = [str(requirement) for requirement in wanted]
    if not wanted:
        return InstallPlan([], [], True, wheelFolder)
    if not wheelFolder and not askIndex:
        return InstallPlan(
            lines, [Package(item.name, "", APPROXIMATE_MB.get(item.name)) for item in wanted], exact=False
        )
    if wheelFolder and not Path(wheelFolder).is_dir():
        raise InstallError(
            _("{folder}: is no folder; choose the folder with the wheels in the settings.").format(folder=wheelFolder)
        )
    with tempfile.TemporaryDirectory(prefix="FedKDTAVI-pip-") as folder:
        report = Path(folder) / "report.json"
        _pip([*lines, "--dry-run", "--quiet", "--report", str(report)], wanted, wheelFolder, onIdle)
        try:
            content = json.loads(report.read_text(encoding="utf-8"))
            packages = [_package(item) for item in content["install"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InstallError(_("pip's answer cannot be read ({reason}); update pip.").format(reason=error)) from error
    return InstallPlan(lines, packages, True, wheelFolder)


def install(plan: InstallPlan, onIdle: Callable[[], None] | None = None) -> None:
    """Install what the plan names, and try it. To be called only after a person has agreed to ``plan.text``.

    Args:
        plan: what to install.
        onIdle: called some twenty times a second meanwhile; may raise InstallCancelled.

    Raises:
        InstallError: it failed; the sentence says what to do.
        InstallCancelled: it was stopped; it can be repeated.
    """
    remains = InstallRemains()
    try:
        if wanted := missing():
            if ownPackages.areNeeded():
                _installApart(wanted, plan, onIdle)
            else:
                _pip([str(requirement) for requirement in wanted], wanted, plan.wheelFolder, onIdle)
            importlib.invalidate_caches()
        problem = importProblem(onIdle)
    except InstallCancelled as error:
        remains.clear()
        sentence = _("The packages were installed before it was cancelled.")
        if missing():
            sentence = _("The installation was cancelled and may be incomplete; install again to complete it.")
        raise InstallCancelled(sentence, error.log) from None
    if problem:
        raise problem


def _installApart(wanted: list[Requirement], plan: InstallPlan, onIdle: Callable[[], None] | None) -> None:
    """What pip would install here, version by version and nothing else, into a folder of our own."""
    exact = plan if plan.exact else installPlan(plan.wheelFolder, askIndex=True, onIdle=onIdle)
    pins = [f"{package.name}=={package.version}" for package in exact.packages]
    place = str(ownPackages.packagesFolder())
    _pip([*pins, "--no-deps", "--upgrade", "--target", place], wanted, plan.wheelFolder, onIdle)
    ownPackages.use()


def ensureInstalled(
    ask: Callable[[InstallPlan], bool], wheelFolder: str = "", onIdle: Callable[[], None] | None = None
) -> bool:
    """See to it that all that is needed is there; ``ask`` decides on the plan. False when the answer was no.

    Raises:
        InstallError: see :func:`install`.
    """
    plan = installPlan(wheelFolder, onIdle=onIdle)
    if not plan.packages:
        return True
    if not ask(plan):
        return False
    install(plan, onIdle)
    return True


def importProblem(onIdle: Callable[[], None] | None = None) -> InstallError | None:
    """Do the packages start? Tried in a child process: a library that crashes must not take Slicer along."""
    ended = _run(["-c", _TRIAL], onIdle)
    if ended.exitCode == 0:
        return None
    return InstallError(importSentence(ended.log), ended.log)


def _pip(arguments: list[str], wanted: list[Requirement], wheelFolder: str, onIdle: Callable[[], None] | None) -> None:
    with tempfile.TemporaryDirectory(prefix="FedKDTAVI-pip-") as folder:
        fixed = Path(folder) / "constraints.txt"
        fixed.write_text("\n".join(constraints(wanted)) + "\n", encoding="utf-8")
        source = ["--no-index", "--find-links", wheelFolder] if wheelFolder else []
        ended = _run([*_PIP, *arguments, "-c", str(fixed), *source], onIdle)
    if ended.exitCode != 0:
        raise InstallError(pipSentence(ended.log, wheelFolder), ended.log)


def _run(arguments: list[str], onIdle: Callable[[], None] | None) -> Ended:
    ended: list[Ended] = []
    process = BlockingProcess()
    # What pip has downloaded when it is stopped goes with the folder.
    with tempfile.TemporaryDirectory(prefix="FedKDTAVI-", ignore_cleanup_errors=True) as folder:
        process.start(arguments, lambda message: None, ended.append, temporary=folder)
        try:
            process.wait(onIdle)
        except BaseException:
            process.cancel()
            process.wait()  # nothing of it writes any more when the person is told, or starts it again
            raise
    return ended[0]


def _package(item: dict) -> Package:
    metadata, url = item["metadata"], item["download_info"]["url"]
    size = _bytes(url)
    return Package(metadata["name"], metadata["version"], None if size is None else size / 1e6)


def _bytes(url: str) -> int | None:
    """Size of a file by its address; None when nobody says."""
    parts = urllib.parse.urlsplit(url)
    try:
        if parts.scheme == "file":
            return Path(urllib.request.url2pathname(parts.path)).stat().st_size
        if parts.scheme != "https":
            return None
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError, urllib.error.URLError):
        return None
