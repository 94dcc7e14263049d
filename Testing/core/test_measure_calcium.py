"""Calcium volumes: sectors, annular band, outflow tract, and the mask's voxels."""

from __future__ import annotations

import numpy as np
import pytest

from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.measurements import NotMeasurable, annulus_plane, measure
from fedkdtavi_core.measurements.calcium import calcium_volumes, nearest_cusp, set_voxels
from fedkdtavi_core.volume import Grid, Volume

POINTS = {
    "hinge_rcc": np.array([0.0, 12.0, 0.0]),
    "hinge_lcc": np.array([-10.4, -6.0, 0.0]),
    "hinge_ncc": np.array([10.4, -6.0, 0.0]),
}
PLANE = annulus_plane(POINTS)
GRID = Grid((80, 80, 80), np.array([[-0.5, 0, 0, 20], [0, 0.5, 0, -20], [0, 0, 0.5, -20], [0, 0, 0, 1.0]]))


def ball(center: tuple[float, float, float], radius: float = 2.0) -> np.ndarray:
    ras = GRID.to_ras(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    return (np.linalg.norm(ras - center, axis=-1) <= radius).astype(np.uint8)


def test_a_ball_counts_where_it_lies():
    for cusp, (x, y) in enumerate(((0, 9), (-8, -5), (8, -5))):
        volumes = calcium_volumes(ball((x, y, 6)), GRID, PLANE)
        assert volumes.total == pytest.approx(4 / 3 * np.pi * 8, rel=0.05)
        assert volumes.cusps[cusp] == volumes.total
        assert (volumes.lvot, volumes.annular, volumes.deeper) == (0, 0, 0)


def test_outflow_tract_annulus_and_deeper_calcium():
    below = calcium_volumes(ball((0, 9, -6)), GRID, PLANE)
    assert below.lvot == below.total and sum(below.cusps) == 0
    across = calcium_volumes(ball((0, 9, 0)), GRID, PLANE)
    assert across.annular == across.total
    assert across.lvot + sum(across.cusps) == pytest.approx(across.total)
    deep = calcium_volumes(ball((0, 9, -14)), GRID, PLANE)
    assert deep.deeper == deep.total and deep.lvot == 0


def test_sectors_are_bounded_by_the_mid_angles():
    for degrees in np.arange(0.5, 360, 1.0):
        t = np.deg2rad(degrees)
        point = PLANE.centre + 9 * (np.cos(t) * PLANE.u + np.sin(t) * PLANE.v)
        assert nearest_cusp(PLANE, point) == (0 if degrees < 60 or degrees > 300 else 1 if degrees < 180 else 2)


def test_parts_add_up_for_scattered_calcium():
    mask = (np.random.default_rng(0).random(GRID.shape) < 0.01).astype(np.uint8)
    volumes = calcium_volumes(mask, GRID, PLANE)
    assert volumes.total == pytest.approx(mask.sum() * 0.125)
    assert sum(volumes.cusps) + volumes.lvot + volumes.deeper == pytest.approx(volumes.total)


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int16])
@pytest.mark.parametrize("shape", [(7, 9, 11), (16, 8, 4), (1, 1, 1)])
def test_set_voxels_finds_them_in_any_layout(shape: tuple[int, ...], dtype: type, order: str):
    mask = (np.random.default_rng(1).random(shape) < 0.2).astype(dtype)
    stored = np.asfortranarray(mask) if order == "F" else mask
    if order == "strided":
        stored = np.repeat(mask, 2, axis=2)[:, :, ::2]
    found = set_voxels(stored)
    assert sorted(map(tuple, found)) == sorted(map(tuple, np.argwhere(mask)))


def test_without_a_plane_only_the_total_is_known():
    volumes = calcium_volumes(ball((0, 9, 6)), GRID, None)
    assert volumes.total > 0 and volumes.cusps is None and volumes.lvot is None


def test_a_mask_of_another_grid_is_refused():
    with pytest.raises(NotMeasurable, match="voxels"):
        calcium_volumes(np.zeros((3, 3, 3), np.uint8), GRID, PLANE)


def measured(**changes):
    annotation = Annotation(**changes)
    for label_id, point in POINTS.items():
        annotation.landmarks[label_id].position = point
    array = np.full(GRID.shape, 400, np.int16)
    return {row["id"]: row for row in measure(Volume(array, GRID.affine, {}), annotation).rows()}


def test_no_mask_is_none_and_an_empty_mask_is_zero():
    assert measured()["calcium_total"]["value"] is None
    assert measured()["calcium_total"]["reason"] == "calcification was not assessed"
    refused = measured(provenance={"calcium": {"refused": "a threshold too low"}})
    assert refused["calcium_total"]["reason"] == "a threshold too low"
    empty = measured(calcification=np.zeros(GRID.shape, np.uint8))
    assert [empty[i]["value"] for i in ("calcium_total", "calcium_rcc", "calcium_lvot")] == [0, 0, 0]
    absent = measured(calcification=ball((0, 9, 6)), calcification_status=Status.ABSENT)
    assert absent["calcium_total"]["value"] is None and "reviewer" in absent["calcium_total"]["reason"]


def test_the_rule_is_printed_and_no_agatston_score_is_claimed():
    provenance = {"calcium": {"rule": "from 850 HU (contrast CT, Jilaihawi 2014)"}}
    rows = measured(calcification=ball((0, 9, 6)), provenance=provenance)
    for row in rows.values():
        if row["group"] == "calcium":
            assert "850 HU" in row["definition"] and row["unit"] == "mm3"
    assert "not an Agatston score" in rows["calcium_total"]["definition"]
    edited = measured(calcification=ball((0, 9, 6)), calcification_status=Status.CORRECTED, provenance=provenance)
    assert "edited by a reviewer" in edited["calcium_total"]["definition"]
