"""The shipped weights are the shipped networks: a release can be trained on, and its ONNX rebuilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import bundle

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

MODELS = Path(__file__).resolve().parents[2] / "Resources" / "Models"


@pytest.mark.parametrize("role", ["coarse", "student"])
def test_onnx_is_rebuilt_from_the_weights(role):
    from fedkdtavi_training import export, networks

    folder = next(path for path in MODELS.iterdir() if path.is_dir())
    network, _, _ = networks.load(folder / "models" / f"{role}.safetensors")
    image = np.random.default_rng(0).normal(size=(1, 1, 64, 64, 64)).astype(np.float32)
    shipped = bundle.verify(folder).session(role, "cpu")(image)
    with torch.inference_mode():
        direct = {name: value.numpy() for name, value in network(torch.from_numpy(image)).items()}
    for name, value in direct.items():
        np.testing.assert_allclose(shipped[name], value, atol=1e-3 * np.abs(value).max())
    rebuilt = export.to_onnx(network, shape=(64, 64, 64), dynamic=role == "coarse")
    assert export.compare(network, rebuilt, [(64, 64, 64)]) < export.TOLERANCE
