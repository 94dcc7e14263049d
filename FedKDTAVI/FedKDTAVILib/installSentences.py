"""What pip and Python say when an installation fails, put into one sentence: what is wrong, and what to do."""

from __future__ import annotations

import re
import sys

from slicer.i18n import tr as _

VC_RUNTIME = "https://aka.ms/vs/17/release/vc_redist.x64.exe"


def pipSentence(log: str, wheelFolder: str = "") -> str:
    """The sentence for a failed ``pip install``.

    Args:
        log: what pip said.
        wheelFolder: the folder it was to install from; "" for the index.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    package = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)", log)
    if wheelFolder and package:
        return _(
            "{folder}: holds no wheel of {package} for Python {python} on this system; fill the folder with "
            "'pip download -r requirements.txt --only-binary=:all:' on a computer of the same kind with network."
        ).format(folder=wheelFolder, package=package[1], python=python)
    for pattern, sentence in _pipTable():
        if re.search(pattern, log, re.IGNORECASE):
            return sentence
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    return _("The packages could not be installed ({reason}); copy the log and report it.").format(
        reason=last.strip().removeprefix("ERROR: ")[:200] or _("pip said nothing")
    )


def importSentence(log: str) -> str:
    """The sentence for packages that are installed but cannot be imported; ``log`` is Python's traceback."""
    if re.search(r"DLL load failed|DLL\)? initialization routine failed|WinError 1114", log):
        return _(
            "onnxruntime is installed but cannot start: install the current Microsoft Visual C++ Redistributable "
            "({address}), then start 3D Slicer again. If that does not help, as 3D Slicer brings an older one along: "
            "in its Python console, slicer.util.pip_install('onnxruntime<1.21')."
        ).format(address=VC_RUNTIME)
    if re.search(r"GLIBC_|GLIBCXX_", log):
        return _("onnxruntime is installed but this system is too old for it; install an older onnxruntime (1.20).")
    if "compiled using NumPy 1" in log or "numpy.core.multiarray failed to import" in log:
        return _("A package was built for another NumPy than 3D Slicer's; uninstall onnxruntime and install it again.")
    module = re.search(r"No module named '([^']+)'", log)
    if module:
        return _("The package {name} is missing after the installation; install again.").format(name=module[1])
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    return _("The packages are installed but do not start ({reason}); copy the log and report it.").format(
        reason=last.strip()[:200] or _("Python crashed")
    )


def _pipTable() -> list[tuple[str, str]]:
    """Patterns in pip's words and the sentence for each; the first that is found counts."""
    folder = _("or choose a folder with wheels in the settings")
    return [
        (
            r"407 Proxy|ProxyError|Tunnel connection failed|Cannot connect to proxy",
            _("The network's proxy refused the connection; set HTTPS_PROXY to your hospital's proxy and start 3D "
              "Slicer again, {otherwise}.").format(otherwise=folder),
        ),
        (
            r"CERTIFICATE_VERIFY_FAILED|SSLError|SSL: ",
            _("The connection's certificate is not trusted, as with a firewall that reads along; let IT set pip's "
              "'cert' to the hospital's certificate, {otherwise}.").format(otherwise=folder),
        ),
        (
            r"No space left|not enough space|WinError 112",
            _("The disk is full; free some space and install again."),
        ),
        (
            r"Permission denied|Access is denied|WinError 5\b|Read-only file system",
            _("3D Slicer's folder cannot be written; install 3D Slicer where you may write, or let IT install the "
              "packages."),
        ),
        (
            r"WinError 32|being used by another process",
            _("A package is in use; close all windows of 3D Slicer, start it again and install before anything else."),
        ),
        (
            r"NewConnectionError|Failed to establish a new connection|Temporary failure in name resolution|"
            r"getaddrinfo failed|Network is unreachable|ConnectTimeout|Read timed out|Could not fetch URL",
            _("The package index cannot be reached; check the network, {otherwise}.").format(otherwise=folder),
        ),
        (
            r"ResolutionImpossible|conflicting dependencies",
            _("No version of the packages fits what 3D Slicer has installed; install the current 3D Slicer."),
        ),
        (
            r"No module named pip",
            _("3D Slicer's Python has no pip; install 3D Slicer again."),
        ),
    ]  # fmt: skip
