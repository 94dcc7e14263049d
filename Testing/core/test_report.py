"""The page: warnings first, nothing missing without a word, no text off the paper or on top of other text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import report, schema
from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.measurements import measure
from fedkdtavi_core.report import style, table, view
from fedkdtavi_core.report.page import NOT_FOR_CLINICAL_USE, compose
from fedkdtavi_core.report.sheet import families, printable
from fedkdtavi_core.volume import Volume

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error:Glyph")

NORMAL = np.array([0.35, 0.25, 0.9]) / np.linalg.norm([0.35, 0.25, 0.9])
CENTER = np.array([10.0, -20.0, 130.0])
# A dollar sign is no mathematics; a letter that no font has is a box, not a crash.
CASE = "Bär $1$ 患者 🫀"
LUMEN_HU, TISSUE_HU, RADIUS = 400, 40, 12.0


def around(angle: float, height: float, radius: float = RADIUS) -> np.ndarray:
    """A point of the root: angle in degrees from anterior towards the patient's left, height in mm over the plane."""
    first = view.unit(view.ANTERIOR - (view.ANTERIOR @ NORMAL) * NORMAL)
    second = np.cross(NORMAL, first)
    turned = np.cos(np.radians(angle)) * first + np.sin(np.radians(angle)) * second
    return CENTER + radius * turned + height * NORMAL


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A tilted tube of contrast in soft tissue with two calcifications, 0.9 x 0.9 x 1.2 mm, stored as LAS."""
    affine = np.diag([-0.9, 0.9, 1.2, 1.0])
    shape = (110, 110, 84)
    affine[:3, 3] = CENTER - affine[:3, :3] @ (np.array(shape) / 2) + [3.0, 1.0, 2.0]
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    offset = points - CENTER
    radial = np.sqrt(np.maximum((offset**2).sum(-1) - (offset @ NORMAL) ** 2, 0))
    array = np.where(radial < RADIUS, LUMEN_HU, TISSUE_HU)
    for spot in (around(5, 4, 10), around(130, 6, 10)):
        array[np.linalg.norm(points - spot, axis=-1) < 2.2] = 1200
    noise = np.random.default_rng(0).normal(0, 15, shape)
    return Volume((array + noise).astype(np.int16), affine, {"path": f"/cases/{CASE}.nii.gz", "phase": "35 %"})


def full(volume: Volume) -> Annotation:
    """All landmarks, calcium and contour."""
    places = {
        "hinge_rcc": around(0, 0),
        "hinge_lcc": around(120, 0),
        "hinge_ncc": around(240, 0),
        "ostium_rca": around(10, 16),
        "ostium_lca": around(115, 8),
        "ms_upper": around(300, 4),
        "ms_lower": around(304, -3),
    }
    annotation = Annotation()
    for label_id, place in places.items():
        landmark = annotation.landmarks[label_id]
        landmark.position, landmark.confidence = place, 0.9
    annotation.landmarks["hinge_lcc"].confidence = 0.3
    annotation.landmarks["hinge_ncc"].status, annotation.landmarks["hinge_ncc"].confidence = Status.CONFIRMED, None
    annotation.calcification = (volume.array > 850).astype(np.uint8)
    annotation.annulus_contour = np.array([around(angle, 0) for angle in range(0, 360, 3)])
    annotation.provenance = {"bundle": {"name": "test bundle", "version": "1", "digest": "0123456789abcdef"}}
    return annotation


def without(volume: Volume, *label_ids: str) -> Annotation:
    annotation = full(volume)
    for label_id in label_ids:
        annotation.landmarks[label_id].position = None
        annotation.landmarks[label_id].confidence = None
        annotation.landmarks[label_id].flags = ["lay outside the volume"]
    return annotation


def long_winded(volume: Volume) -> Annotation:
    annotation = full(volume)
    annotation.warnings = [f"Warning {n}: " + "the reader has to look at this with great care, " * 5 for n in range(6)]
    annotation.warnings.append("/a/path/without/any/space" * 12)
    return annotation


def plain(volume: Volume) -> Volume:
    """The same without contrast."""
    array = np.where(volume.array > 200, 45, volume.array).astype(np.int16)
    return Volume(array, volume.affine, volume.info)


def reviewed(volume: Volume) -> Annotation:
    annotation = full(volume)
    for landmark in annotation.landmarks.values():
        landmark.status, landmark.confidence = Status.CONFIRMED, None
    return annotation


def ruled(volume: Volume) -> Annotation:
    """The longest rule there is: over half of each deposit's peak, edited since."""
    annotation = full(volume)
    rule = "from halfway between the blood's 525 HU and the peak of each deposit, here from 762 to 1013 HU"
    rule += "; within 2 mm of the region suggested by the network; specks under 1 mm3 left out"
    annotation.provenance["calcium"] = {"rule": rule}
    annotation.calcification_status = Status.CORRECTED
    return annotation


def page(volume: Volume, annotation: Annotation):
    import matplotlib

    with matplotlib.rc_context({**style.SETTINGS, "font.family": families()}):
        sheet = compose(volume, annotation, measure(volume, annotation))
        sheet.canvas.draw()
    return sheet


def texts(sheet) -> Iterator[tuple[str, np.ndarray]]:
    """Every text that is shown, with left, bottom, right, top in pixels."""
    import matplotlib.text

    renderer = sheet.canvas.get_renderer()
    for artist in sheet.figure.findobj(matplotlib.text.Text):
        if artist.get_visible() and artist.get_text().strip():
            yield artist.get_text(), artist.get_window_extent(renderer).extents


def wild(volume: Volume) -> Annotation:
    """The left main has been moved far up, out of its picture, and a deposit lies far above the plane."""
    annotation = full(volume)
    annotation.landmarks["ostium_lca"].position = around(115, 50, 12)
    annotation.landmarks["ostium_lca"].status = Status.CORRECTED
    i, j, k = np.rint(volume.grid.to_ijk(around(60, 30, 8))).astype(int)
    annotation.calcification[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = 1
    return annotation


CASES = {
    "full": full,
    "a point moved far": wild,
    "no septum": lambda volume: without(volume, "ms_upper", "ms_lower"),
    "half a septum": lambda volume: without(volume, "ms_lower"),
    "no ostia": lambda volume: without(volume, "ostium_rca", "ostium_lca"),
    "no plane": lambda volume: without(volume, "hinge_ncc"),
    "nothing": lambda volume: Annotation(),
    "long warnings": long_winded,
    "no contrast": lambda volume: full(volume),
    "no contrast, reviewed": lambda volume: reviewed(volume),
    "calcium by a long rule": lambda volume: ruled(volume),
}


@pytest.fixture(scope="module")
def pages(volume) -> Callable:
    """(annotation, sheet) of a case, drawn once."""

    @lru_cache
    def of(case: str):
        annotation = CASES[case](volume)
        return annotation, page(plain(volume) if "no contrast" in case else volume, annotation)

    return of


@pytest.fixture(params=CASES)
def drawn(request, pages):
    return request.param, *pages(request.param)


def test_every_text_lies_on_the_paper(drawn) -> None:
    _, _, sheet = drawn
    width, height = (side * style.DPI for side in style.PAGE)
    shown = list(texts(sheet))
    assert len(shown) > 30
    for words, (left, bottom, right, top) in shown:
        assert left >= 0 and bottom >= 0 and right <= width and top <= height, words


def test_no_text_lies_on_another(drawn) -> None:
    _, _, sheet = drawn
    # Extents include room for ascenders and descenders, so a pixel or two in common is still apart to the eye.
    for (first, a), (second, b) in itertools.combinations(texts(sheet), 2):
        common = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert min(common) < 3, f"{first!r} and {second!r} share {common[0]:.0f} x {common[1]:.0f} pixels"


def test_nothing_is_cut_short(drawn) -> None:
    case, _, sheet = drawn
    cut = [words for words, _ in texts(sheet) if "…" in words]
    assert all("more lines, in measurements.json" in words for words in cut)
    assert len(cut) == (case == "long warnings")


def test_a_long_rule_loses_its_last_clauses_and_no_size(pages) -> None:
    import matplotlib.text

    shown = pages("calcium by a long rule")[1].figure.findobj(matplotlib.text.Text)
    (line,) = (text for text in shown if "no Agatston score" in text.get_text())
    assert line.get_fontsize() == style.TINY
    words = " ".join(text.get_text() for text in shown)
    assert "here from 762 to 1013 HU" in words.replace("\n", " ") and "specks" not in words


def test_no_number_is_nan(drawn) -> None:
    _, _, sheet = drawn
    for words, _ in texts(sheet):
        assert not {"nan", "none", "inf"} & set(words.lower().replace("mm", " ").split()), words


def test_says_what_it_is_not_for_and_whose_it_is(drawn) -> None:
    _, _, sheet = drawn
    words = [words for words, _ in texts(sheet)]
    assert NOT_FOR_CLINICAL_USE in words
    assert printable(CASE) in words


def test_warnings_stand_above_everything_else(drawn) -> None:
    case, annotation, sheet = drawn
    placed = dict(texts(sheet))
    title = placed[printable(CASE)]
    above = " ".join(words for words, extents in placed.items() if extents[1] > title[3])
    assert all(axes.get_window_extent().y1 < title[1] for axes in sheet.figure.axes)
    missing = [schema.by_id(i).name for i, landmark in annotation.landmarks.items() if landmark.position is None]
    for name in missing if case != "nothing" else []:
        assert name in above
    if case == "nothing":
        assert "No landmark was found" in above
    if case == "long warnings":
        assert "Warning 0" in above and "more lines" in above


def test_low_ostium_is_warned_of_before_any_number(pages) -> None:
    sheet = pages("full")[1]  # its left main ostium lies 8 mm over the plane
    highest = max(texts(sheet), key=lambda shown: shown[1][3])[0]
    assert highest.startswith("▲")
    shown = " ".join(words for words, _ in texts(sheet))
    assert "8.0 mm above" in shown and "16.0 mm above" in shown


def test_no_height_is_drawn_that_the_table_withholds(volume) -> None:
    """Without contrast nobody saw the ostia that were predicted, even where a person has set the hinge points."""
    annotation = full(volume)
    for label_id in schema.HINGE_IDS:
        annotation.landmarks[label_id].status = Status.CORRECTED
    shown = " ".join(words for words, _ in texts(page(plain(volume), annotation)))
    assert "no height of a point that is predicted only" in shown.replace("\n", " ")
    assert "16.0 mm above" not in shown and "8.0 mm above" not in shown


def test_what_lies_outside_a_picture_is_told_under_it(pages) -> None:
    shown = " ".join(words for words, _ in texts(pages("a point moved far")[1])).replace("\n", " ")
    assert "LM, corrected 50.0 mm above" in " ".join(shown.split())
    assert "The point lies outside the picture, 51 mm" in shown
    assert "Dashed: 122 mm³ above or below the slab." in shown  # 5 x 5 x 5 voxels
    usual = " ".join(words for words, _ in texts(pages("full")[1]))
    assert "outside the picture" not in usual and "Dashed" not in usual and "corrected" not in usual


def test_the_mark_of_a_warning_is_explained(pages) -> None:
    for case, marked in (("full", True), ("nothing", False)):
        shown = [words for words, _ in texts(pages(case)[1])]
        assert ("▲ see the warnings" in shown) is marked


def test_every_picture_shows_the_ct(pages) -> None:
    axes = {axes.get_label(): axes for axes in pages("full")[1].figure.axes}
    for label in ("annulus", "ostium_lca", "ostium_rca", "septum", "calcium"):
        image = axes[label].images[0].get_array()
        assert np.nanmax(image) > LUMEN_HU - 60, label
        middle = image[image.shape[0] // 2, image.shape[1] // 2]
        assert abs(float(middle) - LUMEN_HU) < 120 or label == "calcium"
    assert len(axes["calcium"].images) == 2  # CT and overlay


def test_what_is_missing_is_said_where_it_would_stand(pages) -> None:
    sheet = pages("no plane")[1]
    axes = {axes.get_label(): axes for axes in sheet.figure.axes}
    assert not axes["carm"].lines and "NCC" in axes["carm"].texts[0].get_text().replace("\n", " ")
    assert [len(axes[label].images) for label in ("ostium_lca", "septum", "calcium")] == [1, 1, 2]
    words = " ".join(text for text, _ in texts(sheet)).replace("\n", " ")
    for start in ("Coronal plane through the membranous septum. No height", "not told apart by cusp"):
        assert "NCC" in words[words.index(start) :][:120]
    assert not any(axes.images for axes in pages("nothing")[1].figure.axes)


def test_the_ct_is_not_touched_and_the_file_is_a_png(volume, tmp_path: Path) -> None:
    before = volume.array.copy()
    annotation = full(volume)
    report.draw(volume, annotation, measure(volume, annotation), tmp_path / "bericht ü.png", name="Fall ü")
    header = (tmp_path / "bericht ü.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
    assert (width, height) == tuple(round(side * style.DPI) for side in style.PAGE)
    assert np.array_equal(before, volume.array)


def test_the_page_is_headed_by_the_name_that_was_given(volume) -> None:
    annotation = full(volume)
    measured = measure(volume, annotation)
    assert "Fall 7" in [words for words, _ in texts(compose(volume, annotation, measured, "Fall 7"))]


def test_what_the_bars_mean_is_large_enough_to_read(pages) -> None:
    import matplotlib.text

    shown = pages("full")[1].figure.findobj(matplotlib.text.Text)
    (label,) = (text for text in shown if "P(error < 5 mm)" in text.get_text())
    assert label.get_fontsize() >= style.SMALL


@pytest.mark.parametrize(
    ("lumen", "contrasted", "words"),
    [(400.0, True, "W 800 / L 300"), (600.0, True, "W 1200 / L 450"), (200.0, True, "W 400 / L 150"),
     (45.0, False, "W 350 / L 40"), (None, False, "W 800 / L 300"), (3000.0, True, "W 1600 / L 600")],
)  # fmt: skip
def test_the_window_follows_the_blood(lumen, contrasted, words) -> None:
    window = style.window(style.ANGIO, lumen, contrasted)
    assert str(window) == words
    assert bool(window.why) == (lumen is not None)


@pytest.mark.parametrize(("blood", "words"), [(45, "no contrast"), (220, "lumen 220 HU"), (700, "lumen 70")])
def test_blood_is_neither_black_nor_white_and_the_window_is_told(volume, blood: int, words: str) -> None:
    other = Volume(np.where(volume.array > 200, blood, volume.array * 0).astype(np.int16), volume.affine, volume.info)
    annotation = full(other)
    for label_id in schema.LANDMARK_IDS:
        annotation.landmarks[label_id].status = Status.CONFIRMED
    sheet = page(other, annotation)
    axes = {axes.get_label(): axes for axes in sheet.figure.axes}
    for label in ("annulus", "ostium_lca", "ostium_rca", "septum", "calcium"):
        image = axes[label].images[0]
        low, high = image.get_clim()
        least = 0.2 if label == "calcium" else 0.3
        assert least < (blood - low) / (high - low) < 0.8, label
        assert any(words in text.get_text() for text in axes[label].texts), label


def test_weak_contrast_does_not_drown_calcium_in_white() -> None:
    assert str(style.window(style.CALCIUM, 185.0, True)) == "W 1200 / L 450"
    assert str(style.window(style.CALCIUM, 600.0, True)) == "W 1800 / L 680"


def test_a_point_is_drawn_where_it_lies() -> None:
    across = view.across(NORMAL, CENTER, 60)
    assert np.allclose(across.project(CENTER + 5 * NORMAL), 0)
    assert np.allclose(np.cross(across.right, across.up), -NORMAL)
    assert across.letters()["right"].startswith("L") and across.letters()["top"].startswith("A")
    target = around(115, 8)
    along = view.lengthwise(NORMAL, CENTER, target, 70)
    x, y = along.project(target)
    assert (abs(x), y) == pytest.approx((RADIUS, 8.0))
    assert abs((target - along.center) @ np.cross(along.right, along.up)) < 1e-9


def test_pictures_and_masks_lie_on_the_same_millimetres(volume) -> None:
    spot = around(130, 6, 10)
    across = view.across(NORMAL, CENTER, 60)
    mask = (volume.array > 850).astype(np.uint8)
    seen = across.slab_mask(mask, volume.affine, -18, 6)
    brightest = across.slab(volume, -18, 6) > 850
    for picture in (seen, brightest):
        rows, columns = np.nonzero(picture)
        half = picture.shape[0] / 2
        places = (np.stack([columns, rows], -1) + 0.5 - half) * 2 * across.pixel
        near = places[np.linalg.norm(places - across.project(spot), axis=1) < 5]
        assert np.linalg.norm(near.mean(axis=0) - across.project(spot)) < 0.6
    assert not across.slab_mask(mask, volume.affine, 20, 30).any()
    assert not across.slab_mask(np.zeros_like(mask), volume.affine, -18, 6).any()


@pytest.mark.parametrize(
    ("vector", "letters"), [((0, 0, 1), "S"), ((-1, 0.1, 0), "L"), ((0.7, -0.6, 0), "RP"), ((0, 1, -0.9), "AI")]
)
def test_direction_letters(vector, letters) -> None:
    assert view.direction(np.array(vector, float)) == letters


@pytest.mark.parametrize(
    ("normal", "short"),
    [
        ("49.4 ± 9.4 (18-90; PubMed 34090956)", "49.4 ± 9.4 (18-90)"),
        ("men 483 ± 76, women 387 ± 59 (PubMed 23347864)", "♂ 483 ± 76, ♀ 387 ± 59"),
        ("2.1 ± 2.1 (Mori 2018)", "2.1 ± 2.1"),
        ("", ""),
    ],
)
def test_normal_ranges_lose_only_their_source(normal, short) -> None:
    assert table.short_normal(normal) == short
