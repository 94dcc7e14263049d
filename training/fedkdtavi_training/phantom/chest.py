"""Everything of a chest CT that is not heart: painted before the heart is laid in, and over it."""

from __future__ import annotations

import numpy as np

from .abdomen import paint_abdomen
from .canvas import Canvas
from .context import ContextParameters
from .girdle import paint_shoulders, paint_sternum, paint_table
from .head import paint_head
from .lungs import paint_airway, paint_lungs
from .pelvis import paint_legs, paint_pelvis
from .spine import paint_spine
from .trunk import Trunk, TrunkFields, paint_layers
from .vessels import paint_aorta, paint_oesophagus, paint_veins

__all__ = ["ContextParameters", "paint_after", "paint_before"]


def paint_before(canvas: Canvas, rng: np.random.Generator, p: ContextParameters) -> None:
    """Paint the whole body around the heart: table, arms, trunk, lungs, bones, great vessels, abdomen, head, legs.

    Each part has a random stream of its own, so the same seed gives the same patient on any grid.
    """
    streams = iter(rng.spawn(16))
    trunk = Trunk.build(p, next(streams))
    fields = TrunkFields.of(canvas, trunk)
    table, bones, flesh = next(streams), next(streams), next(streams)
    if np.any(fields.skin > -5):
        if p.table:
            paint_table(canvas, fields.grid, trunk.habitus, table)
        paint_legs(canvas, p, next(streams))
    else:
        next(streams)
    paint_layers(canvas, trunk, fields, flesh)
    paint_lungs(canvas, trunk, fields, next(streams))
    paint_abdomen(canvas, trunk, fields, next(streams))
    paint_shoulders(canvas, fields.grid, trunk, bones)
    paint_sternum(canvas, trunk, next(streams))
    paint_spine(canvas, p, next(streams))
    paint_pelvis(canvas, p, next(streams))
    paint_head(canvas, p, next(streams))
    paint_oesophagus(canvas, p, next(streams))
    paint_veins(canvas, p, next(streams))
    paint_airway(canvas, p, next(streams))
    paint_aorta(canvas, p, next(streams))


def paint_after(canvas: Canvas, rng: np.random.Generator, p: ContextParameters) -> None:
    """Paint what lies over a finished chest: electrodes on the skin, a pacemaker's leads through the right heart."""
    trunk_stream, electrode_stream, pacemaker_stream = rng.spawn(3)
    if p.electrodes:
        trunk = Trunk.build(p, trunk_stream)
        for _ in range(p.electrodes):
            turn, z = electrode_stream.uniform(0.1, np.pi - 0.1), electrode_stream.uniform(-120, 130)
            spot = trunk.habitus.surface(turn, z, "skin", 1.5)
            canvas.tube(np.array([spot, spot + [0, 1.5, 0]]), np.full(2, 3.5), 2200.0)
            end = spot + electrode_stream.normal(0, 60, 3) * [1, 0.2, 1]
            canvas.tube(np.array([spot, 0.5 * (spot + end) + [0, 12, 0], end + [0, 10, 0]]), np.full(3, 1.2), 900.0)
    if p.pacemaker:
        _paint_pacemaker(canvas, p, pacemaker_stream)


def _paint_pacemaker(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    from .shapes import spline

    m = p.midline
    pocket = np.array([m - 85, 42, 110.0]) + rng.normal(0, 6, 3)
    canvas.shape(
        pocket - 30,
        pocket + 30,
        lambda q: np.maximum(
            np.sqrt((q[..., 0] - pocket[0]) ** 2 + (q[..., 2] - pocket[2]) ** 2) - 22, np.abs(q[..., 1] - pocket[1]) - 4
        ),
        3000.0,
    )
    entry = [pocket, [m - 60, -20, 150], [m - 20, -2, 128], [m + 24, -4, 100], [39, -8, 40], [36, -8, 0]]
    tips = [[[10, 22, -35], [-30, 30, -48]], [[34, 10, 12]]]
    for tip in tips[: int(rng.integers(1, 3))]:
        path = spline(np.array(entry + tip, float) + rng.normal(0, 2, (len(entry) + len(tip), 3)), 8)
        canvas.tube(path, np.full(len(path), 1.1), 2600.0)
        canvas.tube(path[-2:], np.full(2, 1.6), 3000.0)
