"""The figures of the page: each takes arms and draws on axes of its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np

from fedkdtavi_core import schema

from .results import POINT_MEASURES, Arm, sites

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5d6875")  # Okabe and Ito
INK, MUTED, RULE = "#18202b", "#5d6875", "#d9dee3"
CAP_MM = 15.0  # further off, and missing, is drawn at the top
WITHIN_MM = 5.0  # what a confidence is the probability of
_SETTINGS = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.edgecolor": RULE, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#eceff2", "axes.axisbelow": True, "text.parse_math": False,
    "legend.frameon": False, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
}  # fmt: skip


def png(draw: Callable, arms: Sequence[Arm], size: tuple[float, float], dpi: int = 150) -> bytes:
    """What ``draw(figure, arms)`` draws, as PNG; ``size`` in inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, arms)
        target = io.BytesIO()
        figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()


def error_per_site(figure, arms: Sequence[Arm]) -> None:
    """Box plots: landmarks in mm, calcium as Dice; a box for every site and arm."""
    names = sites(arms)
    panels = figure.subplots(3, 1, sharex=True)
    for axes, (title, labels) in zip(panels, POINT_MEASURES.items(), strict=False):
        _boxes(axes, arms, names, lambda arm, site, labels=labels: arm.errors(labels, site), cap=CAP_MM)
        axes.set(title=title, ylabel="error, mm", ylim=(0, CAP_MM * 1.1), yticks=[0, 3, 6, 9, 12, CAP_MM])
        axes.axhline(CAP_MM, color=RULE, lw=0.8)
    _boxes(panels[2], arms, names, lambda arm, site: arm.values("calc_dice", site), cap=None)
    panels[2].set(title="Calcification", ylabel="Dice", ylim=(0, 1.02))
    panels[2].set_xticks(range(len(names)), names)
    _legend(figure, arms)


def cumulative(figure, arms: Sequence[Arm]) -> None:
    """For each landmark, the share that is found within a distance; missing ones never are."""
    panels = figure.subplots(2, 4, sharex=True, sharey=True).ravel()
    for axes, label in zip(panels, schema.LANDMARK_IDS, strict=False):
        for number, arm in enumerate(arms):
            errors = np.sort(arm.errors([label]))
            share = np.arange(1, len(errors) + 1) / max(len(errors), 1)
            inside = errors <= CAP_MM
            top = float(inside.mean()) if len(errors) else 0.0
            x, y = [0, *errors[inside], CAP_MM], [0, *share[inside], top]
            axes.step(x, y, where="post", color=_colour(number), lw=1.6)
        axes.set(title=schema.by_id(label).name, xlim=(0, CAP_MM), ylim=(0, 1.02))
        axes.axvline(WITHIN_MM, color=RULE, lw=0.8)
    for axes in panels[[0, 4]]:
        axes.set_ylabel("share of cases")
    for axes in panels[4:7]:
        axes.set_xlabel("error below, mm")
    panels[3].tick_params(labelbottom=True)
    panels[3].set_xlabel("error below, mm")
    panels[7].axis("off")
    panels[7].legend(handles=_handles(arms), loc="center left", fontsize=10)


def bland_altman(figure, arms: Sequence[Arm]) -> None:
    """Coronary height, predicted minus true against their mean, with bias and 95 % limits of agreement."""
    panels = figure.subplots(len(arms), 2, sharex=True, sharey=True, squeeze=False)
    limits: list[float] = []
    for row, arm in zip(panels, arms, strict=True):
        number = arms.index(arm)
        for axes, label in zip(row, schema.OSTIUM_IDS, strict=True):
            means, differences, lost = heights(arm, label)
            axes.scatter(means, differences, s=14, color=_colour(number), alpha=0.75, lw=0)
            title = f"{schema.by_id(label).name} height, {arm.name}"
            if len(differences) > 1:
                bias, spread = float(differences.mean()), 1.96 * float(differences.std(ddof=1))
                for level, style in ((bias, "-"), (bias - spread, "--"), (bias + spread, "--")):
                    axes.axhline(level, color=INK, lw=0.9, ls=style)
                title += f": bias {bias:+.1f} mm, limits {bias - spread:.1f} to {bias + spread:.1f}"
                limits += [abs(bias) + spread, float(np.abs(differences).max())]
            axes.set_title(title + (f", {lost} missing" if lost else ""), fontsize=8.5)
            axes.axhline(0, color=RULE, lw=0.8)
        row[0].set_ylabel("predicted - true, mm")
    reach = min(1.1 * max(limits, default=5.0), 20.0)
    panels[0, 0].set_ylim(-reach, reach)
    known = any(
        row[f"{label}_height_mm"] is not None for arm in arms for row in arm.rows for label in schema.OSTIUM_IDS
    )
    for axes in panels[-1]:
        axes.set_xlabel("mean of predicted and true, mm" if known else "(these results hold no true heights)")


def heights(arm: Arm, label: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and difference of predicted and true height in mm, and how many were not measurable.

    Results without true heights (of an older program) are set beside each other at a mean of 0.
    """
    means, differences, lost = [], [], 0
    for row in arm.rows:
        error, truth = row[f"{label}_height_error_mm"], row[f"{label}_height_mm"]
        if error is None:
            continue
        if not np.isfinite(error):
            lost += 1
            continue
        means.append(0.0 if truth is None else truth + error / 2)
        differences.append(error)
    return np.array(means), np.array(differences), lost


def reliability(figure, arms: Sequence[Arm]) -> None:
    """How often a landmark of a stated confidence lies within 5 mm; bars: 95 % interval; below: how many there are."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, 11)
    upper.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls="--")
    width = 0.08 / len(arms)
    for number, arm in enumerate(arms):
        confidence, good = stated(arm)
        bins = np.clip(np.digitize(confidence, edges) - 1, 0, 9)
        count = np.bincount(bins, minlength=10)
        shift = (number - (len(arms) - 1) / 2) * width
        lower.bar(edges[:-1] + 0.05 + shift, count, width, color=_colour(number))
        for which in np.flatnonzero(count):
            share = good[bins == which].mean()
            low, high = _wilson(share, count[which])
            place = confidence[bins == which].mean() + shift / 3  # side by side
            bars = [[max(share - low, 0.0)], [max(high - share, 0.0)]]
            upper.errorbar([place], [share], bars, fmt="o", ms=5, lw=1, capsize=2, color=_colour(number))
    upper.set(ylabel=f"share within {WITHIN_MM:g} mm", xlim=(0, 1), ylim=(0, 1.02))
    lower.set_yscale("log")
    lower.yaxis.set_major_formatter("{x:g}")
    lower.set(xlabel="stated confidence", ylabel="landmarks", ylim=(0.7, None))
    upper.legend(handles=_handles(arms), loc="upper left")


def stated(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of every landmark that was given and has a truth, and whether it lies within 5 mm."""
    pairs = [
        (row[f"{i}_confidence"], row[f"{i}_mm"])
        for row in arm.rows
        for i in schema.LANDMARK_IDS
        if row[f"{i}_confidence"] is not None and row[f"{i}_mm"] is not None
    ]
    found = np.array(pairs, float).reshape(-1, 2)
    return found[:, 0], found[:, 1] < WITHIN_MM


def _boxes(axes, arms: Sequence[Arm], names: Sequence[str], pick: Callable, cap: float | None) -> None:
    width = 0.8 / len(arms)
    for number, arm in enumerate(arms):
        for place, site in enumerate(names):
            values = np.asarray(pick(arm, site), float)
            if not len(values):
                continue
            x = place + (number - (len(arms) - 1) / 2) * width
            shown = values if cap is None else np.minimum(values, cap)
            q = np.quantile(shown, [0.05, 0.25, 0.5, 0.75, 0.95])
            out = shown[(shown < q[0]) | (shown > q[4])]
            box = {"whislo": q[0], "q1": q[1], "med": q[2], "q3": q[3], "whishi": q[4], "fliers": out}
            edge = {"color": _colour(number), "lw": 1.1}
            axes.bxp(
                [box], positions=[x], widths=0.7 * width, patch_artist=True, manage_ticks=False,
                boxprops={"facecolor": _colour(number), "alpha": 0.35, "edgecolor": _colour(number)},
                whiskerprops=edge, capprops=edge, medianprops={"color": INK, "lw": 1.4},
                flierprops={"marker": ".", "ms": 4, "mfc": _colour(number), "mec": "none", "alpha": 0.8},
            )  # fmt: skip
            lost = int(np.isinf(values).sum())
            if lost:
                axes.text(x, cap * 1.03, f"{lost} missing", ha="center", va="bottom", fontsize=7, color="#a3211b")


def _wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    z = 1.96
    middle, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float(max((middle - half) / (1 + z * z / n), 0)), float(min((middle + half) / (1 + z * z / n), 1))


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _handles(arms: Sequence[Arm]) -> list:
    from matplotlib.patches import Patch

    return [Patch(color=_colour(number), label=arm.name) for number, arm in enumerate(arms)]


def _legend(figure, arms: Sequence[Arm]) -> None:
    figure.legend(handles=_handles(arms), loc="outside upper right", ncols=min(len(arms), 5))
