"""The shipped weights are the shipped networks: a release can be trained on, and its ONNX rebuilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import bundle

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

MODELS = Path(__file__).resolve().parents[2] / "Resources" / "Models"


@pytest.mark.parametrize("role", ["coarse", "student", "refiner"])
def test_onnx_is_rebuilt_from_the_weights(role, tmp_path):
    from fedkdtavi_training import bundle_weights, export, networks

    released = bundle.verify(next(path for path in MODELS.iterdir() if path.is_dir()))
    bundle_weights.write(released, role, tmp_path / "weights.safetensors")
    network, _, _ = networks.load(tmp_path / "weights.safetensors")
    side = released.metadata["preprocessing"]["aligned_look"]["size"] if role == "refiner" else 64
    image = np.random.default_rng(0).normal(size=(1, 1, side, side, side)).astype(np.float32)
    shipped = released.session(role, "cpu")(image)
    with torch.inference_mode():
        direct = {name: value.numpy() for name, value in network(torch.from_numpy(image)).items()}
    for name, value in direct.items():
        np.testing.assert_allclose(shipped[name], value, atol=1e-3 * np.abs(value).max())
    rebuilt = export.to_onnx(network, shape=(side,) * 3, dynamic=role == "coarse")
    assert export.compare(network, rebuilt, [(side,) * 3]) < export.TOLERANCE
