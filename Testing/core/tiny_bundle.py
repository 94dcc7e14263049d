"""A CT of plain spheres and a bundle whose networks see them: real ONNX files, no training.

Each landmark is a sphere of an intensity of its own. A network channel is the local share of voxels that have this
intensity, so its heatmap peaks at the sphere's centre.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper

from fedkdtavi_core import schema
from fedkdtavi_core.bundle import Bundle, metadata, seal
from fedkdtavi_core.volume import Grid, Volume

BACKGROUND_HU, HEART_HU, CALCIUM_HU = 0.0, 250.0, 1500.0
LEVELS_HU = dict(zip(schema.LANDMARK_IDS, (400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0), strict=True))
CENTER = np.array([12.0, -20.0, 35.0])
SPHERE_MM, HEART_MM, CALCIUM_MM = 4.5, 32.0, 4.0

# RAS mm relative to the centre: hinge points on a ring 8 mm below it, the ostia above, the septum below.
OFFSETS = {
    "hinge_rcc": (1.0, 13.0, -8.0),
    "hinge_lcc": (-11.5, -6.5, -8.0),
    "hinge_ncc": (10.5, -6.5, -8.0),
    "ostium_rca": (4.0, 15.0, 6.0),
    "ostium_lca": (-14.0, -3.0, 7.0),
    "ms_upper": (17.0, 4.0, -2.0),
    "ms_lower": (12.0, 8.0, -15.5),
}
CALCIUM_OFFSET = (0.0, 0.0, 1.0)
POINTS = {i: CENTER + np.array(offset) for i, offset in OFFSETS.items()}


def blob_volume(
    affine: np.ndarray | None = None,
    shape=(110, 104, 100),
    *,
    leave_out: tuple[str, ...] = (),
    heart: bool = True,
    noise_hu: float = 0.0,
) -> Volume:
    """The spheres drawn on a grid (by default 1.5 mm, axes R, A, S, centred near the root).

    ``noise_hu``: standard deviation of noise, without which a file reader takes the spheres for a label map.
    """
    if affine is None:
        affine = np.diag([1.5, 1.5, 1.5, 1.0])
        affine[:3, 3] = CENTER - 1.5 * (np.array(shape) - 1) / 2 + [5, -4, 3]
    grid = Grid(tuple(shape), affine)
    hu = np.full(shape, BACKGROUND_HU, np.float32)

    def draw(center, radius, level):
        reach, middle = np.ceil(radius / grid.spacing) + 1, grid.to_ijk(center)
        low = np.clip(np.floor(middle - reach), 0, shape).astype(int)
        high = np.clip(np.ceil(middle + reach) + 1, 0, shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offset = grid.to_ras(np.moveaxis(np.mgrid[box], 0, -1)) - center
        hu[box][(offset**2).sum(-1) <= radius**2] = level

    if heart:
        draw(CENTER, HEART_MM, HEART_HU)
        draw(CENTER + CALCIUM_OFFSET, CALCIUM_MM, CALCIUM_HU)
        for label_id, level in LEVELS_HU.items():
            if label_id not in leave_out:
                draw(POINTS[label_id], SPHERE_MM, level)
    hu += np.random.default_rng(5).normal(0, noise_hu, shape)
    return Volume(np.round(hu).astype(np.int16), affine, {"path": "blobs.nii.gz"})


def rotation(axis, degrees: float) -> np.ndarray:
    """(3, 3) rotation about an axis."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


class _Graph:
    """Collects nodes and constants of one small network."""

    def __init__(self) -> None:
        self.nodes, self.constants = [], []

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        value = np.asarray(value, np.float32)
        self.constants.append(helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.tobytes(), raw=True))
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def share(self, hu: float, tolerance_hu: float, width: int, stride: int = 1) -> str:
        """Local share (0..1) of voxels of about this intensity."""
        level = self.constant((hu - 150) / 250)
        steep = self.constant(-((250 / tolerance_hu) ** 2))
        offset = self.node("Sub", "image", level)
        like = self.node("Exp", self.node("Mul", self.node("Mul", offset, offset), steep))
        pads = [(width - stride) // 2] * 6
        return self.node("AveragePool", like, kernel_shape=[width] * 3, strides=[stride] * 3, pads=pads,
                         count_include_pad=1)  # fmt: skip

    def line(self, value: str, factor: float, shift: float, output: str | None = None) -> str:
        scaled = self.node("Mul", value, self.constant(factor))
        return self.node("Add", scaled, self.constant(shift), output=output)

    def model(self, outputs: dict[str, int], opset: int = 17):
        def port(name, channels):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, None, None, None])

        graph = helper.make_graph(
            self.nodes, "tiny", [port("image", 1)], [port(*entry) for entry in outputs.items()], self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        checker.check_model(model)
        return model


def coarse_model():
    """Heart class ``aorta`` wherever it is brighter than the background, root at the middle of that."""
    graph = _Graph()
    bright = graph.node("Sigmoid", graph.line("image", 40.0, 40.0 * (150 - 125) / 250))
    background = graph.line(bright, -20.0, 10.0)
    aorta = graph.line(bright, 20.0, -10.0)
    nothing = graph.line(bright, 0.0, -30.0)
    graph.node("Concat", background, *[nothing] * 5, aorta, nothing, axis=1, output="heart")
    middle = graph.node("AveragePool", bright, kernel_shape=[13] * 3, pads=[6] * 6, count_include_pad=1)
    graph.line(middle, 16.0, -10.0, output="root")
    return graph.model({"heart": 8, "root": 1})


def student_model(stride: int = 2, heads=("hps", "ms", "calc"), opset: int = 17, *, classes: bool = False):
    """Heatmaps of the landmarks' spheres at 64 / ``stride`` and the calcium's own intensity at 64.

    ``classes``: a sphere's class wins only where there is one (its logit is above 0), as ``centroid`` reads it.
    """
    graph = _Graph()
    outputs = {}
    for head in heads:
        if head == "calc":
            graph.line("image", 20.0, -20.0 * (1050 - 150) / 250, output="calc")  # brighter than 1050 HU
            outputs["calc"] = 1
            continue
        ids = schema.HEADS[head]
        width = 6 if stride == 2 else 7
        channels = [
            graph.line(graph.share(LEVELS_HU[i], 25.0, width, stride), 30.0, -9.0 if classes else 0.0) for i in ids
        ]
        graph.node("Concat", *channels, axis=1, output=head)
        outputs[head] = len(ids)
    return graph.model(outputs, opset)


def described(**changes) -> dict:
    """Metadata of the tiny bundle."""
    calibration = {head: {"raw": [0.0, 0.5, 1.0], "p_within_5mm": [0.0, 0.6, 0.98]} for head in ("hps", "ms")}
    thresholds = {"root_score": 0.5, "heart_ml": 20.0, "root_margin_mm": 15.0, "calc_probability": 0.5}
    entries = {"thresholds": thresholds, "calibration": calibration, **changes}
    return metadata.new("tiny", "1", **entries)


def write_bundle(
    folder: Path, *, coarse=None, student=None, refiner=None, calcium=None, meta: dict | None = None
) -> Bundle:
    """Write and seal a bundle in ``folder``; without refiner or calcium network where none is given."""
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True)
    (folder / "configs/metadata.json").write_text(json.dumps(meta or described()), encoding="utf-8")
    (folder / "models/coarse.onnx").write_bytes((coarse or coarse_model()).SerializeToString())
    (folder / "models/student.onnx").write_bytes((student or student_model()).SerializeToString())
    for name, model in (("refiner", refiner), ("calcium", calcium)):
        if model is not None:
            (folder / f"models/{name}.onnx").write_bytes(model.SerializeToString())
    (folder / "docs/README.md").write_text("Tiny networks for tests.\n", encoding="utf-8")
    (folder / "provenance.json").write_text('{"made_by": "tests"}\n', encoding="utf-8")
    return seal(folder)
