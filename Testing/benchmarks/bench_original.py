"""How long the original's way takes on the same CT: full resolution, sliding windows, one network after another.

    python Testing/benchmarks/bench_original.py --ct out/bench/ct.nii.gz [--annotate-seconds 5.1] [--only unet]

The way of the published predictor (npj Digital Medicine 8:88, 2025): a heart network over the whole CT, a crop of 192^3
voxels of 1 mm around the heart, then one network per task over that crop with sliding windows of 96^3 that overlap by
half: three plain convolutional UNets (six stages, 32 to 320 features), or three SwinUNETRs (feature size 48). Weights
are random: they cost the same. Nothing is extrapolated; every window is computed, once. The heart network's own size is
not published in detail; it is taken as the same UNet on the CT at 3 mm, which favours the original.
Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import common

TASKS = {"hps": 6, "ms": 3, "calc": 2}  # classes with background
WINDOW, CROP, CROP_MM, HEART_MM = 96, 192, 1.0, 3.0


def unet(classes: int):
    """nnU-Net's plain convolutional UNet: six stages, two convolutions each."""
    from monai.networks.nets import DynUNet

    filters = [32, 64, 128, 256, 320, 320]
    strides = [1, 2, 2, 2, 2, 2]
    return DynUNet(3, 1, classes, [3] * 6, strides, strides[1:], filters=filters).eval()


def swin(classes: int):
    """MONAI's SwinUNETR at the published feature size."""
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=classes, feature_size=48, spatial_dims=3).eval()


def slide(network, image) -> None:
    """One network over one image, in overlapping windows."""
    import torch
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        sliding_window_inference(image, (WINDOW,) * 3, 1, network, overlap=0.5, mode="gaussian")


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of a call, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Run it and append to results/original.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["unet", "swin"], help="only one of the two network families")
    parser.add_argument("--annotate-seconds", type=float, help="the whole `fedkdtavi annotate` of the same run")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

    import torch

    from fedkdtavi_core.geometry import coarse_grid, crop_grid, resample
    from fedkdtavi_core.intensity import normalise
    from fedkdtavi_core.readers import read_volume

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = []

    def record(part: str, seconds: float, note: str) -> None:
        rows.append({"part": part, "seconds": f"{seconds:.2f}", "note": note})
        print(f"{part:28s} {seconds:9.2f} s   {note}", flush=True)

    def tensor(grid):
        return torch.from_numpy(normalise(resample(volume, grid)))[None, None]

    seconds, volume = timed(lambda: read_volume(arguments.ct))
    record("reading", seconds, f"{'x'.join(map(str, volume.array.shape))} {volume.array.dtype}")
    shared = seconds
    seconds, image = timed(lambda: tensor(coarse_grid(volume, HEART_MM)))
    heart = unet(8)
    more, _ = timed(lambda: slide(heart, image))
    record("heart network", seconds + more, f"{'x'.join(map(str, image.shape[2:]))} at {HEART_MM:g} mm")
    shared += seconds + more
    center = volume.grid.to_ras((volume.array.shape[0] / 2, volume.array.shape[1] / 2, volume.array.shape[2] / 2))
    seconds, image = timed(lambda: tensor(crop_grid(center, CROP, CROP_MM)))
    record("crop", seconds, f"{CROP}^3 at {CROP_MM:g} mm")
    shared += seconds
    for family, build in (("unet", unet), ("swin", swin)):
        if arguments.only not in (None, family):
            continue
        total = shared
        for task, classes in TASKS.items():
            network = build(classes)
            seconds, _ = timed(lambda network=network: slide(network, image))
            record(f"{family} {task}", seconds, f"sliding windows {WINDOW}^3, overlap 0.5")
            total += seconds
        against = ""
        if arguments.annotate_seconds:
            times = total / arguments.annotate_seconds
            against = f"{times:.0f} times fedkdtavi annotate ({arguments.annotate_seconds:.2f} s)"
        record(f"{family} way, whole", total, against)
    print("written:", common.write("original.csv", rows, f"{arguments.threads} threads, torch {torch.__version__}"))


if __name__ == "__main__":
    main()
