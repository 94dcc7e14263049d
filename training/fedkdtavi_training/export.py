"""From trained weights to a bundle: fp16 safetensors, ONNX graphs compared with them, metadata, card, checksums."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkdtavi_core import __version__
from fedkdtavi_core.bundle import layout, metadata, seal
from fedkdtavi_core.errors import FedKDTAVIError, UsageError

from . import card, networks

OPSET = 17
# Largest difference between torch and ONNX Runtime on the same (fp16) weights, of the largest logit; sums in another
# order give about 1e-5 of it.
TOLERANCE = 1e-3
_LARGE_CONSTANT = 1 << 16
_SMALLEST = 256  # tensors below this many values stay float32: nothing is saved
DEFAULT_THRESHOLDS = {"root_score": 0.3, "calc_probability": 0.5, "min_confidence": 0.5}


class ExportError(FedKDTAVIError):
    """The exported network does not compute what the trained one does."""

    code = "export"


class _Named(torch.nn.Module):
    """A network whose outputs come in a fixed order, as the exporter needs them."""

    def __init__(self, network: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(image)
        return tuple(outputs[name] for name in self.names)


def to_onnx(network: torch.nn.Module, *, shape: tuple[int, int, int], dynamic: bool) -> bytes:
    """ONNX (opset 17) of a network in evaluation mode, weights stored as fp16 and cast in the graph.

    Args:
        network: with float32 weights that fp16 can hold (see :func:`round_to_half`), else it differs.
        shape: spatial shape of the example input.
        dynamic: may the spatial shape differ at run time?
    """
    network = network.to(memory_format=torch.contiguous_format).eval()
    example = torch.zeros(1, 1, *shape)
    with torch.inference_mode():
        names = list(network(example))
    axes = {name: {2: "x", 3: "y", 4: "z"} for name in ["image", *names]} if dynamic else None
    buffer = io.BytesIO()
    with _plain_masks():
        torch.onnx.export(
            _Named(network, names),
            (example,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            dynamic_axes=axes,
        )
    return _store_half(buffer.getvalue())


def round_to_half(network: torch.nn.Module) -> torch.nn.Module:
    """Round every floating-point weight to what fp16 holds, in place; returns the network."""
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
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
            expected = {name: value.numpy() for name, value in network(torch.from_numpy(image)).items()}
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(None, {"image": image}), strict=True))
        for name, value in expected.items():
            if name not in found or found[name].shape != value.shape:
                raise ExportError(
                    f"The exported network gives no {name!r} of shape {value.shape}; the export is unusable."
                )
            worst = max(worst, float(np.abs(found[name] - value).max() / max(float(np.abs(value).max()), 1e-6)))
    if not worst <= TOLERANCE:
        raise ExportError(f"The exported network differs from the trained one by {worst:.2g} of the largest logit.")
    return worst


def assemble(
    out: Path,
    coarse: Path,
    student: Path,
    *,
    name: str,
    version: str,
    thresholds: dict[str, float] | None = None,
    calibration: dict[str, dict[str, list[float]]] | None = None,
    views: list[list[float]] | None = None,
    results: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a sealed bundle folder; returns what was compared.

    Args:
        out: folder; must not exist or be an older bundle.
        coarse, student: ``weights.safetensors`` of two runs of ``fedkdtavi train``.
        results: measured numbers for the card, as ``evaluate`` summarises them.
    """
    if out.exists() and any(out.iterdir()) and not (out / layout.METADATA).exists():
        raise UsageError(f"{out}: is not empty and no bundle; choose another --out.")
    for folder in ("configs", "models", "docs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    described: dict[str, Any] = {}
    crop = 64
    runs: dict[str, Any] = {}
    for role, path in (("coarse", coarse), ("student", student)):
        network, task, trained = networks.load(path)
        if (task == "coarse") != (role == "coarse"):
            raise UsageError(f"{path} holds a {task} network, a {role} network is needed; swap or correct the paths.")
        round_to_half(network)
        dynamic = role == "coarse"
        onnx = to_onnx(network, shape=(crop,) * 3, dynamic=dynamic)
        shapes = [(64, 64, 64), (80, 48, 96)] if dynamic else [(crop,) * 3]
        report[role] = {"difference": compare(network, onnx, shapes), "bytes": len(onnx)}
        (out / layout.MODELS[role]).write_bytes(onnx)
        networks.save(network.half(), task, out / f"models/{role}.safetensors", trained)
        described[role] = {"task": task, "arguments": network.arguments, "weights": f"models/{role}.safetensors"}
        runs[role] = {key: trained[key] for key in ("digest", "config", "steps", "cases") if key in trained}
    meta = metadata.new(
        name,
        version,
        thresholds=DEFAULT_THRESHOLDS | (thresholds or {}),
        calibration=calibration or {},
        crop_size=crop,
        views=views,
    )
    _write_json(out / layout.METADATA, meta)
    _write_json(out / "configs/network.json", described)
    _write_json(
        out / layout.PROVENANCE,
        {"code_version": __version__, "networks": runs, "export": report, **(provenance or {})},
    )
    (out / layout.CARD).write_text(card.text(meta, runs, report, results or {}), encoding="utf-8")
    bundle = seal(out)
    return {**report, "digest": bundle.digest}


def main(arguments: list[str] | None = None) -> int:
    """``export``: two trained networks -> a sealed bundle folder."""
    parser = argparse.ArgumentParser(prog="fedkdtavi export", description="Make a model bundle of trained networks.")
    parser.add_argument("--coarse", type=Path, required=True, help="weights.safetensors of a coarse run")
    parser.add_argument("--student", type=Path, required=True, help="weights.safetensors of a student or teacher run")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder")
    parser.add_argument("--name", default="fedkdtavi")
    parser.add_argument("--version", required=True)
    parser.add_argument("--calibration", type=Path, help="JSON written by calibrate")
    parser.add_argument("--results", type=Path, help="summary JSON written by evaluate, for the card")
    parser.add_argument("--threshold", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    try:
        thresholds = {key: float(value) for key, value in (word.split("=") for word in options.threshold)}
    except ValueError:
        raise UsageError("--threshold needs NAME=VALUE with a number, such as root_score=0.3.") from None
    report = assemble(
        options.out,
        options.coarse,
        options.student,
        name=options.name,
        version=options.version,
        thresholds=thresholds,
        calibration=json.loads(options.calibration.read_text()) if options.calibration else None,
        results=json.loads(options.results.read_text()) if options.results else None,
    )
    print(json.dumps(report, indent=2))
    return 0


@contextmanager
def _plain_masks() -> Iterator[None]:
    """Let the transformer's attention masks enter the graph as constants, not as the thousands of nodes that make them.

    MONAI computes them from the input's shape at every run; what a trace records of that takes longer to load than the
    network takes to run.
    """
    from monai.networks.nets import swin_unetr

    original = swin_unetr.compute_mask

    def masks(dims: list[int], window: tuple[int, ...], shift: tuple[int, ...], device: torch.device) -> torch.Tensor:
        region = np.zeros(dims, np.float32)
        for n, index in enumerate(product(range(3), repeat=len(dims))):
            region[tuple(_span(part, w, s) for part, w, s in zip(index, window, shift, strict=True))] = n
        blocks = region.reshape([m for d, w in zip(dims, window, strict=True) for m in (d // w, w)])
        order = [*range(0, 2 * len(dims), 2), *range(1, 2 * len(dims), 2)]
        ids = blocks.transpose(order).reshape(-1, int(np.prod(window)))
        values = np.where(ids[:, None, :] == ids[:, :, None], 0.0, -100.0).astype(np.float32)
        return torch.from_numpy(values).to(device)

    swin_unetr.compute_mask = masks
    try:
        yield
    finally:
        swin_unetr.compute_mask = original


def _span(part: int, window: int, shift: int) -> slice:
    """The ``part``-th of the three regions of a shifted window's axis (Liu et al., ICCV 2021, figure 4)."""
    return (slice(-window), slice(-window, -shift), slice(-shift, None))[part]


def _store_half(content: bytes) -> bytes:
    """Store an ONNX model's large tensors small, without changing a value.

    Weights that fp16 holds exactly become fp16 with a Cast back to float32. Constants that repeat a few blocks along
    their longest axis (attention masks: 512 windows, 8 kinds) become those blocks and a Gather.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    added, kept, rest = [], [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 and values.size >= _SMALLEST else None
        if half is None or not np.array_equal(half.astype(np.float32), values):
            kept.append(tensor)
            continue
        stored = f"{tensor.name}_half"
        kept.append(numpy_helper.from_array(half, stored))
        added.append(onnx.helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT))
    for node in graph.node:
        values = numpy_helper.to_array(node.attribute[0].t) if node.op_type == "Constant" else np.zeros(0)
        if values.size < _LARGE_CONSTANT:
            rest.append(node)
            continue
        axis = int(np.argmax(values.shape))
        blocks, index = np.unique(values, axis=axis, return_inverse=True)
        name = node.output[0]
        kept += [numpy_helper.from_array(blocks, f"{name}_blocks"), numpy_helper.from_array(index, f"{name}_index")]
        added.append(onnx.helper.make_node("Gather", [f"{name}_blocks", f"{name}_index"], [name], axis=axis))
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*added, *rest])
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
