"""What a CT adds to the picture: noise, streaks beside dense things, slow drifts."""

from __future__ import annotations

import numpy as np
from scipy import fft

from .operators import linear
from .styles import ScannerStyle

DENSE_HU, SATURATION_HU = 550.0, 1800.0


def noise_slices(
    count: int, shape: tuple[int, int], step: tuple[float, float], style: ScannerStyle, rng: np.random.Generator
) -> np.ndarray:
    """Noise of ``count`` independent slices, float32 (count, i, j), with the standard deviation the grid would see.

    The power spectrum is that of filtered back projection: a ramp times the squared transfer function of the kernel
    (Riederer, Pelc & Chesler, Phys Med Biol 1978;23:446), here a Gaussian of ``noise_grain_mm``. Pixels that are
    larger than the scanner's average the noise, which both shifts the spectrum and lowers the deviation.
    """
    own, seen = (float(np.hypot(style.noise_grain_mm, max(w, style.pixel_mm) / np.sqrt(12))) for w in (0.0, max(step)))
    size = tuple(fft.next_fast_len(n + 4, real=True) for n in shape)
    fi = np.fft.fftfreq(size[0], step[0])[:, None]
    fj = np.fft.rfftfreq(size[1], step[1])[None, :]
    radius = np.hypot(fi, fj)
    filter_ = (np.sqrt(radius) * np.exp(-2 * (np.pi * seen * radius) ** 2)).astype(np.float32)
    weight = np.full(filter_.shape[1], 2.0)
    weight[0] = 1.0
    if size[1] % 2 == 0:
        weight[-1] = 1.0
    power = float((filter_**2 * weight).sum())
    # Random spectra are drawn directly; the columns that must be Hermitian lose half their power on the way back.
    filter_[:, weight == 1.0] *= np.float32(np.sqrt(2))
    gain = style.noise_hu * (own / seen) ** 1.5 * size[0] * size[1] / np.sqrt(2 * power)
    filter_ *= np.float32(gain)
    out = np.empty((count, *shape), np.float32)
    batch = max(1, 2_000_000 // (size[0] * size[1]))
    for start in range(0, count, batch):
        n = min(batch, count - start)
        spectrum = rng.standard_normal((n, *filter_.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
        spectrum *= filter_
        out[start : start + n] = fft.irfft2(spectrum, s=size, axes=(1, 2))[:, : shape[0], : shape[1]]
    return out


def streaks(
    image: np.ndarray, step: tuple[float, float], strength: float, rng: np.random.Generator
) -> np.ndarray | None:
    """Streaks and dark bands in the slices of ``image`` (i, j, k) from what is dense in them; None where nothing is.

    A cheap stand-in for photon starvation and beam hardening: each slice's dense part is convolved with a star whose
    arms fall off with distance and sum to about zero. The star turns slowly from slice to slice.
    """
    factor = [max(1, round(2.4 / s)) for s in step]
    low = [-(-n // f) for n, f in zip(image.shape[:2], factor, strict=True)]
    busy = np.flatnonzero(image.max(axis=(0, 1)) > DENSE_HU + 100)
    if not len(busy) or min(low) < 4:
        return None
    dense = np.clip(image[:, :, busy].transpose(2, 0, 1) - np.float32(DENSE_HU), 0, SATURATION_HU)
    pad = [low[a] * factor[a] - image.shape[a] for a in (0, 1)]
    if any(pad):
        dense = np.pad(dense, ((0, 0), (0, pad[0]), (0, pad[1])))
    dense = dense.reshape(len(busy), low[0], factor[0], low[1], factor[1]).mean(axis=(2, 4))
    # Streaks leave from a few places: from a large smooth body alone they would cancel each other.
    dense *= np.where(rng.random(low) < 0.08, 6.0, 0.55).astype(np.float32)

    size = [fft.next_fast_len(2 * n) for n in low]
    cell = (step[0] * factor[0], step[1] * factor[1])
    u = (np.fft.fftfreq(size[0], 1 / size[0]) * cell[0])[:, None]
    v = (np.fft.fftfreq(size[1], 1 / size[1]) * cell[1])[None, :]
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    star = np.zeros(distance.shape, np.complex64)
    for order in (2, 4, 8, 14, 22, 32, 44, 60):  # even orders: an arm goes on at the other side
        amplitude = (rng.normal() + 1j * rng.normal()) / np.sqrt(1 + order / 30)
        star += (amplitude * np.cos(order * (angle + rng.uniform(0, np.pi)))).astype(np.complex64)
    star -= 0.7 * (1 + 1j)  # on the whole darker beside dense things
    star *= (cell[0] * cell[1] * np.exp(-distance / 45) / (distance + 6) / 60 * (distance > 1.5)).astype(np.float32)
    turn = np.exp(1j * (rng.uniform(0, 2 * np.pi) + busy * rng.uniform(0.01, 0.06))).astype(np.complex64)
    spectrum = fft.fft2(dense.astype(np.complex64), s=size, axes=(1, 2)) * fft.fft2(star)
    wave = (fft.ifft2(spectrum, axes=(1, 2), overwrite_x=True)[:, : low[0], : low[1]] * turn[:, None, None]).real
    wave *= np.float32(strength)
    np.clip(wave, -350, 350, out=wave)
    out = np.zeros(image.shape, np.float32)
    grow = [
        linear(np.arange(n) * s, (np.arange(m) * f + (f - 1) / 2) * s)
        for n, m, f, s in zip(image.shape[:2], low, factor, step, strict=True)
    ]
    fine = np.matmul(grow[0], np.matmul(wave, grow[1].T))
    out[:, :, busy] = fine.transpose(1, 2, 0)
    return out


def shading(
    shape: tuple[int, int, int], spacing: tuple[float, ...], strength_hu: float, rng: np.random.Generator
) -> np.ndarray:
    """Slow drifts of about ``strength_hu`` (standard deviation), float32 of ``shape``, with grains of 120 mm."""
    knots = [max(2, int(np.ceil(n * s / 120.0)) + 1) for n, s in zip(shape, spacing, strict=True)]
    field = (rng.standard_normal(knots, dtype=np.float32) * np.float32(strength_hu)).astype(np.float32)
    for axis, (n, m) in enumerate(zip(shape, knots, strict=True)):
        grow = linear(np.linspace(0, m - 1, n), np.arange(m))
        field = np.moveaxis(np.tensordot(grow, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field)
