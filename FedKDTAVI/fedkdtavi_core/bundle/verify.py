"""Is a bundle what it claims to be, and safe to run? Answered before any network is loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import BundleError
from . import layout, metadata, onnx_scan
from . import source as sources
from .sessions import Session


@dataclass
class Bundle:
    """A verified bundle. Its files are read where they lie; a zip is never unpacked.

    Attributes:
        path: folder or zip.
        digest: SHA-256 of its SHA256SUMS, hexadecimal: the bundle's identity.
        metadata: checked ``configs/metadata.json``.
        provenance: ``provenance.json``, or empty.
        scans: model name (``coarse``, ``student``, perhaps ``refiner`` and ``calcium``) -> what its ONNX file declares.
    """

    path: Path
    digest: str
    metadata: dict[str, Any]
    provenance: dict[str, Any]
    scans: dict[str, onnx_scan.Scan]
    _source: sources.Source
    _sums: dict[str, str]
    _listing: bytes
    _sessions: dict[tuple[str, str], Session] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name and version, for a person."""
        return f"{self.metadata['name']} {self.metadata['version']}"

    @property
    def files(self) -> dict[str, str]:
        """File name -> SHA-256, hexadecimal; all but SHA256SUMS."""
        return dict(self._sums)

    def read(self, name: str) -> bytes:
        """Content of one file, exactly as it was verified.

        Raises:
            BundleError: the bundle has no such file, or it has changed since it was verified.
        """
        if name not in self._sums:
            raise BundleError(f"{self.path}: the bundle has no {name}.")
        content = sources.read(self._source, name)
        if hashlib.sha256(content).hexdigest() != self._sums[name]:
            raise BundleError(f"{self.path}: {name} has changed since it was verified; get the bundle again.")
        return content

    def read_sums(self) -> bytes:
        """Content of SHA256SUMS, exactly as it was verified."""
        return self._listing

    def session(self, model: str, device: str = "auto") -> Session:
        """The network ``coarse``, ``student``, ``refiner`` or ``calcium`` on a device; started once and kept.

        It runs from bytes that were checked, so there is no moment at which a file could be exchanged.

        Raises:
            BundleError: ONNX Runtime refuses the network.
        """
        key = (model, device)
        if key not in self._sessions:
            name = layout.MODELS[model]
            self._sessions[key] = Session(self.read(name), f"{self.path}: {name}", device)
        return self._sessions[key]


def verify(path: str | Path) -> Bundle:
    """Check a bundle, folder or zip, from its list of checksums to the operators of its networks.

    Raises:
        BundleError: it is refused; one sentence names the file and the reason.
    """
    source = sources.open_source(Path(path))
    where = str(source.location)
    listed = sources.read(source, layout.SUMS, layout.LARGEST_JSON)
    sums = layout.parse_sums(listed, where)
    _check_listing(source, sums)
    for name, digest in sums.items():
        if sources.sha256(source, name) != digest:
            raise BundleError(f"{where}: {name} was altered or damaged (its checksum differs); get the bundle again.")
    for name in layout.REQUIRED:
        if name not in sums:
            raise BundleError(f"{where}: {name} is missing; this is no complete bundle.")
    content = sources.read(source, layout.METADATA, layout.LARGEST_JSON)
    described = metadata.parse(content, f"{where}: {layout.METADATA}")
    scans = {name: _scan(source, name) for name in sums if name.endswith(".onnx")}
    models = {model: scans[name] for model, name in layout.MODELS.items() if name in scans}
    student = [head for head in metadata.STUDENT_HEADS if head in described["heads"]]
    _check_ports(where, layout.MODELS["coarse"], models["coarse"], list(metadata.COARSE_OUTPUTS))
    _check_ports(where, layout.MODELS["student"], models["student"], student)
    gives = {"refiner": [head for head in schema.LANDMARK_HEADS if head in described["heads"]], "calcium": ["calc"]}
    for model, look in layout.OPTIONAL.items():
        if look not in described["preprocessing"]:
            continue
        if model not in models:
            raise BundleError(f"{where}: {layout.MODELS[model]} is missing; this is no complete bundle.")
        _check_ports(where, layout.MODELS[model], models[model], gives[model])
    return Bundle(
        path=source.location,
        digest=layout.bundle_digest(listed),
        metadata=described,
        provenance=_provenance(source, sums),
        scans=models,
        _source=source,
        _sums=sums,
        _listing=listed,
    )


def info(path: str | Path) -> dict[str, Any]:
    """What a bundle is, as a JSON-able dict. Raises BundleError when it does not pass :func:`verify`."""
    bundle = verify(path)
    keys = ("name", "version", "bundle_version", "schema_version", "intended_use", "trained_on", "preprocessing",
            "thresholds")  # fmt: skip
    return {
        **{key: bundle.metadata[key] for key in keys},
        "path": str(bundle.path),
        "digest": bundle.digest,
        "heads": {head: entry["outputs"] for head, entry in bundle.metadata["heads"].items()},
        "readouts": metadata.readouts(bundle.metadata),
        "calibrated_heads": sorted(bundle.metadata["calibration"]),
        "networks": {
            model: {
                "opset": max(scan.opsets.values()),
                "inputs": scan.inputs,
                "outputs": scan.outputs,
                "operators": sorted(operator for _, operator in scan.operators),
            }
            for model, scan in bundle.scans.items()
        },
        "files": {name: {"bytes": bundle._source.sizes[name], "sha256": bundle._sums[name]} for name in bundle._sums},
        "has_model_card": layout.CARD in bundle._sums,
        "provenance": bundle.provenance,
    }


def _check_listing(source: sources.Source, sums: dict[str, str]) -> None:
    present = set(source.sizes) - {layout.SUMS}
    if missing := sorted(set(sums) - present):
        raise BundleError(f"{source.location}: {missing[0]} is missing; get the bundle again.")
    if extra := sorted(present - set(sums)):
        raise BundleError(f"{source.location}: {extra[0]} is not listed in {layout.SUMS}; remove it or get it again.")
    for name in sums:
        layout.check_type(name, str(source.location))


def _scan(source: sources.Source, name: str) -> onnx_scan.Scan:
    try:
        found = onnx_scan.scan(sources.read(source, name))
    except onnx_scan.ScanError as error:
        raise BundleError(f"{source.location}: {name} is no ONNX network ({error}).") from None
    if reason := onnx_scan.refusal(found):
        raise BundleError(f"{source.location}: {name} {reason}; it is not run.")
    return found


def _check_ports(where: str, name: str, found: onnx_scan.Scan, outputs: list[str]) -> None:
    if found.inputs != [metadata.INPUT]:
        raise BundleError(f"{where}: {name} has the inputs {found.inputs}, expected is only {metadata.INPUT!r}.")
    for output in outputs:
        if output not in found.outputs:
            raise BundleError(f"{where}: {name} has no output {output!r}, which its metadata promises.")


def _provenance(source: sources.Source, sums: dict[str, str]) -> dict[str, Any]:
    if layout.PROVENANCE not in sums:
        return {}
    try:
        found = json.loads(sources.read(source, layout.PROVENANCE, layout.LARGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{source.location}: {layout.PROVENANCE} is no valid JSON ({error}).") from None
    if not isinstance(found, dict):
        raise BundleError(f"{source.location}: {layout.PROVENANCE} must be one JSON object.")
    return found
