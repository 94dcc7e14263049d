"""A dark picture panel: CT, scale bar, the patient's directions, marks, and names that keep out of each other's way."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .sheet import Sheet, line_height

if TYPE_CHECKING:
    from .view import View

TITLE_SPACE = 0.27  # inches above the picture
CAPTION_LINES = 3
CAPTION_SPACE = 0.48  # below: that many lines


class Panel:
    """One square picture on the sheet. Points are given in mm of the view: right and up from its centre."""

    def __init__(self, sheet: Sheet, x: float, y: float, side: float, title: str, *, label: str) -> None:
        self.sheet, self.x, self.y, self.side = sheet, x, y, side
        sheet.text(x, y + 0.17, title, size=style.HEADING, fontweight="bold")
        self.axes = sheet.axes(x, y + TITLE_SPACE, side, side, label=label)
        self.axes.set_facecolor(style.DARK)
        for spine in self.axes.spines.values():
            spine.set_visible(False)
        self.half = 1.0
        self._taken: list[tuple[float, float, float, float]] = []

    def message(self, words: str) -> None:
        """Why there is no picture, in the middle of the dark square."""
        lines = self.sheet.wrap(words, self.side - 0.5, style.BODY)
        self.axes.text(
            0.5, 0.5, "\n".join(lines), transform=self.axes.transAxes, ha="center", va="center",
            fontsize=style.BODY, color=style.ON_DARK, linespacing=1.5,
        )  # fmt: skip

    def caption(self, *lines: str, color: str = style.MUTED) -> None:
        """Sentences under the picture, each on lines of its own where they fit, in smaller letters where they must."""
        sizes = [style.TINY * share for share in (1.0, 0.94, 0.88, 0.82, 0.76, 0.7)]
        for size, together in itertools.product(sizes, (False, True)):
            parts = [" ".join(lines)] if together else lines
            wrapped = [one for part in parts for one in self.sheet.wrap(part, self.side, size)]
            if len(wrapped) * line_height(size) <= CAPTION_LINES * line_height(style.TINY) + 0.01:
                break
        y = self.y + TITLE_SPACE + self.side + 0.15
        for line in wrapped:
            self.sheet.text(self.x, y, line, size=size, color=color)
            y += line_height(size)

    def fits(self, *lines: str) -> bool:
        """Can these sentences stand under the picture at full size?"""
        return sum(len(self.sheet.wrap(line, self.side, style.TINY)) for line in lines) <= CAPTION_LINES

    def picture(self, image: np.ndarray, view: View, window: style.Window) -> None:
        """The CT in the window's greys, with scale bar, directions, the window's name and why it is this one."""
        low, high = window.limits
        self.half = view.width / 2
        self.axes.imshow(
            image, cmap="gray", vmin=low, vmax=high, extent=view.extent, origin="lower", interpolation="bilinear"
        )
        self.axes.set_xlim(-self.half, self.half)
        self.axes.set_ylim(-self.half, self.half)
        self._directions(view)
        self._scale_bar(window)

    def line(self, points: Any, color: Any, width: float = 1.2, dash: Any = "-", **kwargs: Any) -> None:
        """A line through (N, 2) points, with a thin dark edge so that it shows on bright and dark."""
        from matplotlib.patheffects import Normal, Stroke

        x, y = np.asarray(points, float).T
        effects = [Stroke(linewidth=width + 1.2, foreground=style.DARK, alpha=0.55), Normal()]
        self.axes.plot(x, y, color=color, lw=width, ls=dash, path_effects=effects if dash == "-" else None, **kwargs)

    def mark(self, point: Any, color: Any, *, filled: bool = True) -> None:
        """A landmark; a ring when it lies out of the picture's plane."""
        x, y = (float(v) for v in point)
        face = color if filled else "none"
        self.axes.plot([x], [y], "o", ms=6.5, mfc=face, mec=style.ON_DARK if filled else color, mew=1.1, zorder=5)
        self._take(x, y, 0.12, 0.12)

    def arrow(self, start: Any, end: Any, color: str) -> None:
        """A double-headed measuring line."""
        properties = {"arrowstyle": "<|-|>", "color": color, "lw": 1.3, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        self.axes.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=properties, zorder=4)
        for share in np.linspace(0, 1, 9):
            self._take(*(np.asarray(start) + share * (np.asarray(end) - start)), 0.1, 0.1)

    def name(
        self,
        point: Any,
        words: str,
        color: Any,
        *,
        towards: Any = (1.0, 0.0),
        size: float = style.BODY,
        bold: bool = True,
    ) -> None:
        """A name beside a point: at the free place nearest to the direction ``towards``, inside the picture."""
        weight = "bold" if bold else "normal"
        scale = 2 * self.half / self.side  # mm per inch of paper
        width = max(self.sheet.measure(line, size, weight) for line in words.split("\n")) * scale
        height = line_height(size) * 0.8 * len(words.split("\n")) * scale
        x, y = self._free_place(point, towards, width, height, scale)
        self._taken.append((x - width / 2, x + width / 2, y - height / 2, y + height / 2))
        self.axes.text(
            x, y, words, color=color, fontsize=size, fontweight=weight, ha="center", va="center", zorder=6,
            path_effects=_halo(size),
        )  # fmt: skip

    def _free_place(self, point: Any, towards: Any, width: float, height: float, scale: float) -> tuple[float, float]:
        """Centre of a ``width`` x ``height`` mm box by ``point`` that covers the least of what is drawn."""
        start = np.arctan2(towards[1], towards[0])
        best, least = (float(point[0]), float(point[1])), np.inf
        for distance in (0.12, 0.22, 0.36, 0.55):
            for turn in np.radians([0, 30, -30, 60, -60, 90, -90, 130, -130, 180]):
                along = np.array([np.cos(start + turn), np.sin(start + turn)])
                x, y = np.asarray(point, float) + along * (distance * scale + np.abs(along) @ [width / 2, height / 2])
                box = (x - width / 2, x + width / 2, y - height / 2, y + height / 2)
                cost = abs(turn) * 0.05 + distance + 20 * self._covered(box) / (width * height)
                if cost < least:
                    best, least = (x, y), cost
        limit_x, limit_y = self.half - width / 2 - 0.06 * scale, self.half - height / 2 - 0.06 * scale
        return float(np.clip(best[0], -limit_x, limit_x)), float(np.clip(best[1], -limit_y, limit_y))

    def _covered(self, box: tuple[float, float, float, float]) -> float:
        """Area of the box that is taken or outside the picture, in mm^2."""
        left, right, bottom, top = box
        area = (right - left) * (top - bottom)
        inner = max(min(right, self.half) - max(left, -self.half), 0) * max(
            min(top, self.half) - max(bottom, -self.half), 0
        )
        covered = area - inner
        for a, b, c, d in self._taken:
            covered += max(min(right, b) - max(left, a), 0) * max(min(top, d) - max(bottom, c), 0)
        return covered

    def _take(self, x: float, y: float, width: float, height: float) -> None:
        scale = 2 * self.half / self.side
        across, along = width * scale / 2, height * scale / 2
        self._taken.append((x - across, x + across, y - along, y + along))

    def _directions(self, view: View) -> None:
        places = {"left": (0.02, 0.5, "left", "center"), "right": (0.98, 0.5, "right", "center"),
                  "bottom": (0.5, 0.02, "center", "bottom"), "top": (0.5, 0.98, "center", "top")}  # fmt: skip
        for edge, letters in view.letters().items():
            x, y, ha, va = places[edge]
            self.axes.text(
                x, y, letters, transform=self.axes.transAxes, ha=ha, va=va, fontsize=style.SMALL,
                color=style.ON_DARK, fontweight="bold", path_effects=_halo(),
            )  # fmt: skip
            self._take((2 * x - 1) * self.half, (2 * y - 1) * self.half, 0.42, 0.3)

    def _scale_bar(self, window: style.Window) -> None:
        length = 10.0 if self.half < 40 else 20.0
        scale = 2 * self.half / self.side
        x, y = self.half - 0.14 * scale, -self.half + 0.14 * scale
        self.line([(x - length, y), (x, y)], style.ON_DARK, 1.8, solid_capstyle="butt")
        self.axes.text(
            x - length / 2, y + 0.05 * scale, f"{length:.0f} mm", color=style.ON_DARK, fontsize=style.TINY,
            ha="center", va="bottom", path_effects=_halo(),
        )  # fmt: skip
        self.axes.text(
            0.02, 0.02, f"{window.why}\n{window}".strip(), transform=self.axes.transAxes, color=style.ON_DARK,
            fontsize=style.TINY, ha="left", va="bottom", path_effects=_halo(), linespacing=1.25,
        )  # fmt: skip
        self._take(x - length / 2, y + 0.05 * scale, length / scale + 0.3, 0.34)
        self._take(-self.half + 0.5 * scale, y + 0.06 * scale, 1.1, 0.36)


def _halo(size: float = style.TINY) -> list[Any]:
    """A dark edge around letters of ``size`` points, which then show on any grey."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=0.27 * size, foreground=style.DARK), Normal()]
