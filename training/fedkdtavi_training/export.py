"""From trained weights to a bundle: fp16 safetensors, ONNX graphs compared with them, metadata, card, checksums."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkdtavi_core import __version__, readout
from fedkdtavi_core.bundle import Bundle, layout, metadata, seal, verify
from fedkdtavi_core.bundle.held_out import ANY_SITE
from fedkdtavi_core.errors import BundleError, FedKDTAVIError, UsageError

from . import card, given, networks, onnx_graph

OPSET = 17
# Largest difference between torch and ONNX Runtime on the same (fp16) weights, of the largest logit; sums in another
# order give about 1e-5 of it.
TOLERANCE = 1e-3
_FED = ("coarse_spacing_mm", "crop_size", "crop_spacing_mm", "recenter_passes", "views")
_TOLD = ("digest", "config", "steps", "cases", "mean_of", "rounds")
DEFAULT_THRESHOLDS = {"root_score": 0.3, "calc_probability": 0.5, "min_confidence": 0.5}


class ExportError(FedKDTAVIError):
    """The exported network does not compute what the trained one does."""

    code = "export"


class _Named(torch.nn.Module):
    """A network whose outputs come in a fixed order, as the exporter needs them."""

    def __init__(self, network: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names
        assert self.training and not network.training  # the wrapper's own mode: see :func:`to_onnx`

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(image)
        return tuple(outputs[name] for name in self.names)


def to_onnx(network: torch.nn.Module, *, shape: tuple[int, int, int], dynamic: bool, named: bool = False) -> bytes:
    """ONNX (opset 17) of a network in evaluation mode, weights stored as fp16 and cast in the graph.

    Args:
        network: with float32 weights that fp16 can hold (see :func:`round_to_half`), else it differs.
        shape: spatial shape of the example input.
        dynamic: may the spatial shape differ at run time?
        named: keep every weight under its name, so that :func:`.onnx_graph.weights` reads it back; somewhat larger.
    """
    network = network.to(memory_format=torch.contiguous_format).eval()
    example = torch.zeros(1, 1, *shape)
    with torch.inference_mode():
        names = _told(network(example))
    axes = {name: {2: "x", 3: "y", 4: "z"} for name in ["image", *names]} if dynamic else None
    buffer = io.BytesIO()
    with onnx_graph.plain_masks(), warnings.catch_warnings():
        # What the trace takes for constant is constant here; :func:`compare` would tell if it were not.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", message=".*instance_norm.*")
        torch.onnx.export(
            _Named(network, names),
            (example,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            dynamic_axes=axes,
            # Folded, weights lose their names, and those of equal values are stored once where the wrapper is not in
            # training mode: they could not be read back (onnx_graph.weights). The runtime folds by itself.
            do_constant_folding=not named,
            training=torch.onnx.TrainingMode.PRESERVE if named else torch.onnx.TrainingMode.EVAL,
        )
    return onnx_graph.store_half(buffer.getvalue())


def _told(outputs: dict[str, torch.Tensor]) -> list[str]:
    """The outputs that a bundle has; a student's extra heads stay in its weights."""
    return [name for name in outputs if "calc" not in outputs or name in networks.CROP_HEADS]


def round_to_half(network: torch.nn.Module) -> torch.nn.Module:
    """Round every floating-point weight to what fp16 holds, in place; returns the network.

    Raises ExportError when one is not finite then.
    """
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ExportError(f"The weights {name} are not finite, or larger than fp16 holds (65504); train anew.")
    return network


def compare(network: torch.nn.Module, onnx: bytes, shapes: list[tuple[int, int, int]], seed: int = 0) -> float:
    """Largest difference between torch and ONNX Runtime over random inputs, as a share of the largest logit.

    Raises ExportError when it exceeds :data:`TOLERANCE` or a name or shape differs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    worst = 0.0
    for shape in shapes:
        image = rng.normal(0, 1, (1, 1, *shape)).astype(np.float32)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image))
            expected = {name: outputs[name].numpy() for name in _told(outputs)}
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(None, {"image": image}), strict=True))
        for name, value in expected.items():
            if name not in found or found[name].shape != value.shape:
                raise ExportError(
                    f"The exported network gives no {name!r} of shape {value.shape}; the export is unusable."
                )
            if not (np.isfinite(value).all() and np.isfinite(found[name]).all()):
                raise ExportError(f"The network gives {name!r} that is not finite; the export is unusable.")
            worst = max(worst, float(np.abs(found[name] - value).max() / max(float(np.abs(value).max()), 1e-6)))
    if not worst <= TOLERANCE:
        raise ExportError(f"The exported network differs from the trained one by {worst:.2g} of the largest logit.")
    return worst


def assemble(
    out: Path,
    coarse: Path | Bundle,
    student: Path,
    *,
    refiner: Path | Bundle | None = None,
    calcium: Path | Bundle | None = None,
    name: str,
    version: str,
    thresholds: dict[str, float] | None = None,
    calibration: dict[str, dict[str, list[float]]] | None = None,
    how_read: str | None = None,
    trained_on: str = metadata.TRAINED_ON,
    results: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    limits: Sequence[str] = (),
    partly: bool = False,
    replace: bool = True,
) -> dict[str, Any]:
    """Write a sealed bundle folder, whole or not at all; returns what was compared, and the bundle's digest.

    Args:
        out: folder; must not exist, be empty, or be an older bundle, which is then replaced.
        coarse, student: ``weights.safetensors`` of two runs of ``fedkdtavi train``; for the coarse network also a
            bundle, whose own is then taken as it is, with its thresholds and the way in which networks are fed.
        refiner, calcium: weights of these networks, or a bundle whose own is taken as it is, if it has one; None: a
            bundle without.
        how_read: one of :data:`fedkdtavi_core.readout.READOUTS`, for all landmark heads; None: as the student's weights
            say of themselves, ``heatmap`` when they say nothing.
        results: measured numbers for the card, as ``evaluate`` summarises them.
        limits: sentences for the card.
        replace: also an older bundle with other content; without it only the same may be there.
        partly: take weights, too, that say of heads that nobody has taught them; the card names these.

    Raises:
        UsageError: weights cannot be read or are of another network, or have heads that nobody has taught; ``out`` is
            no bundle or cannot be written.
        ExportError: what was exported does not compute what was trained.
    """
    check_place(out)
    fed, decided = {"crop_size": 64}, DEFAULT_THRESHOLDS
    loaded = {"coarse": _load(coarse, "coarse")} if isinstance(coarse, Path) else {}
    loaded["student"] = _load(student, "student")
    further = {"refiner": refiner, "calcium": calcium}
    loaded |= {role: _load(path, role) for role, path in further.items() if isinstance(path, Path)}
    untaught = {role: given.untaught(told, networks.CROP_HEADS) for role, (_, _, told) in loaded.items()}
    for role, heads in untaught.items():
        if not heads:
            continue
        if not partly:
            path = further.get(role, student)
            raise UsageError(f"{path}: has not learned {', '.join(heads)}; give weights that have learned all heads.")
        limits = [*limits, f"The {role} has not learned {', '.join(heads)}: what it gives there means nothing."]
    if not isinstance(coarse, Path):
        those = coarse.metadata["preprocessing"]
        fed, decided = {key: those[key] for key in _FED if key in those}, coarse.metadata["thresholds"]
    if isinstance(calcium, Bundle) and (score := calcium.metadata["thresholds"].get("calcium_score")) is not None:
        decided = decided | {"calcium_score": score}  # it goes with its network
    # How large a student's crop is, and how often it looks, is its own, not the coarse bundle's (older weights do not
    # say how large).
    told = loaded["student"][2]
    fed |= {key: told[key] for key in ("crop_size", "crop_spacing_mm") if key in told}
    fed["closer_look_mm"], crop = told.get("closer_look_mm"), fed["crop_size"]
    read_as = _how_read(student, told.get("readout"), how_read)
    meta = metadata.new(
        name,
        version,
        thresholds=decided | (thresholds or {}),
        calibration=calibration or {},
        trained_on=trained_on,
        **fed,
        **{key: _look(role, further[role], loaded) for role, key in layout.OPTIONAL.items()},
        readouts=dict.fromkeys(networks.LANDMARK_HEADS, read_as),
    )
    with _whole(out) as folder:
        for inner in ("configs", "models", "docs"):
            (folder / inner).mkdir(parents=True)
        report: dict[str, Any] = {}
        described: dict[str, Any] = {}
        runs: dict[str, Any] = {}
        for role, bundle in {"coarse": coarse, **further}.items():
            if isinstance(bundle, Bundle):
                _copy(role, bundle, folder, report, described, runs)
        for role, (network, task, trained) in loaded.items():
            round_to_half(network)
            dynamic = role == "coarse"
            side = meta["preprocessing"][layout.OPTIONAL[role]]["size"] if role in layout.OPTIONAL else crop
            onnx = to_onnx(network, shape=(side,) * 3, dynamic=dynamic, named=role != "student")
            shapes = [(64, 64, 64), (80, 48, 96)] if dynamic else [(side,) * 3]
            report[role] = {"difference": compare(network, onnx, shapes), "bytes": len(onnx)}
            (folder / layout.MODELS[role]).write_bytes(onnx)
            kept = layout.MODELS[role]
            if role == "student":  # of the others the graph alone: bundle_weights reads them from there
                kept = f"models/{role}.safetensors"
                networks.save(network.half(), task, folder / kept, trained)
            described[role] = {"task": task, "arguments": network.arguments, "weights": kept}
            runs[role] = {key: trained[key] for key in _TOLD if key in trained}
            if "rounds" in trained:  # of a federation
                runs[role]["sites"] = len(trained.get("sites", {}))
        _write_json(folder / layout.METADATA, meta)
        _write_json(folder / "configs/network.json", described)
        _write_json(
            folder / layout.PROVENANCE,
            {"code_version": __version__, "networks": runs, "export": report, **_taught(loaded), **(provenance or {})},
        )
        (folder / layout.CARD).write_text(card.text(meta, runs, report, results or {}, limits), encoding="utf-8")
        bundle = seal(folder)
        if not replace and is_bundle(out) and _digest(out) != bundle.digest:
            raise UsageError(f"{out}: holds another bundle; add --force to replace it or choose another --out.")
    return {**report, "digest": bundle.digest}


def _taught(loaded: Mapping[str, tuple[Any, str, Mapping[str, Any]]]) -> dict[str, Any]:
    """What networks of a federation tell ``bundle compare`` of the cases that they have not learned from."""
    shares = [told.get("held_out", 0.0) for _, _, told in loaded.values() if "rounds" in told]
    return {"taught": {"held_out": min(shares), "sites": {ANY_SITE: {"id": ANY_SITE}}}} if any(shares) else {}


def lineage(parent: Bundle) -> dict[str, Any]:
    """What a bundle says of the one it comes from, and that of its own: names, digests, lessons."""
    told = {"digest": parent.digest, "name": parent.metadata["name"], "version": parent.metadata["version"]}
    return told | {key: parent.provenance[key] for key in ("taught", "parent") if key in parent.provenance}


def is_bundle(out: Path) -> bool:
    """Does a folder hold a bundle, sound or not?"""
    return (out / layout.METADATA).exists()


def check_place(out: Path) -> None:
    """Raise UsageError where ``out`` is, and is neither a bundle nor an empty folder."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is there already and is no folder; choose another place for the bundle.")
    if out.exists() and any(out.iterdir()) and not is_bundle(out):
        raise UsageError(f"{out}: is not empty and no bundle; choose another --out.")


def _digest(folder: Path) -> str | None:
    """The digest of a bundle; None where it is broken."""
    try:
        return verify(folder).digest
    except BundleError:
        return None


def _load(path: Path, role: str) -> tuple[torch.nn.Module, str, dict[str, Any]]:
    """Network, task and what its training tells; UsageError when it cannot be ``role``."""
    network, task, trained = given.read(path)
    if (task if task in layout.MODELS else "student") != role:
        raise UsageError(f"{path} holds a {task} network, a {role} network is needed; swap or correct the paths.")
    if networks.sees_heart(network.arguments):
        raise UsageError(
            f"{path}: its network also takes the heart's classes, and a bundle's student is given the CT alone; "
            "export one that was trained without --condition_on_seg."
        )
    return network, task, trained


def _look(role: str, given: Path | Bundle | None, loaded: dict[str, Any]) -> dict[str, float] | None:
    """How refiner or calcium network is fed, as its weights or its bundle tell; None without one."""
    if isinstance(given, Bundle):
        return given.metadata["preprocessing"].get(layout.OPTIONAL[role])
    if given is None:
        return None
    told = loaded[role][2]
    if not {"crop_size", "crop_spacing_mm"} <= told.keys():
        raise UsageError(f"{given} does not say what crops it learned from; give weights of `fedkdtavi train`.")
    return {"size": told["crop_size"], "spacing_mm": told["crop_spacing_mm"]}


def _copy(
    role: str,
    bundle: Bundle,
    folder: Path,
    report: dict[str, Any],
    described: dict[str, Any],
    runs: dict[str, Any],
) -> None:
    """A network of another bundle, its weights if they are there, and what that bundle tells of it."""
    if role not in bundle.scans:
        return
    for name in (layout.MODELS[role], f"models/{role}.safetensors"):
        if name in bundle.files:
            (folder / name).write_bytes(bundle.read(name))
    if "configs/network.json" in bundle.files:
        described |= {role: json.loads(bundle.read("configs/network.json")).get(role, {})}
    known = {key: bundle.provenance.get(key, {}).get(role) for key in ("export", "networks")}
    if all(isinstance(entry, dict) for entry in known.values()):
        report[role], runs[role] = known["export"], known["networks"]


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write in, which then takes the place of ``out``; nothing is left of one that was not finished."""
    part, old = (out.with_name(f".{out.name}.{word}") for word in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
        part.rename(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror or error}); choose another --out.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _how_read(student: Path, said: str | None, asked: str | None) -> str:
    if said is not None and asked not in (None, said):
        raise UsageError(f"{student} was trained to be read as {said}, not as {asked}; leave --readout out.")
    return said or asked or readout.HEATMAP


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
