"""The one place where Hounsfield units become network input, in training and in use alike."""

from __future__ import annotations

import numpy as np

# Fat and lung below, calcium and contrast above: what lies outside carries nothing the networks need. Calcium is
# decided on the CT's own, unclipped voxels (see calcium.py), never on these numbers.
CLIP_HU = (-300.0, 1600.0)
SHIFT_HU = 150.0
SCALE_HU = 250.0


def normalise(hu: np.ndarray) -> np.ndarray:
    """Hounsfield units -> float32 network input of the same shape: clip to [-300, 1600] HU, then (hu - 150) / 250."""
    image = np.clip(hu, *CLIP_HU, dtype=np.float32)
    image -= np.float32(SHIFT_HU)
    image /= np.float32(SCALE_HU)
    return image
