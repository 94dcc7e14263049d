"""A sheet of paper: places axes in inches from the top left, and sets text that is measured before it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text


class Sheet:
    """One page. All positions are inches from the top left corner, y downwards."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = style.PAGE
        self.figure = Figure(figsize=style.PAGE, dpi=style.DPI, facecolor=style.PAPER)
        self.canvas = FigureCanvasAgg(self.figure)
        self._renderer = self.canvas.get_renderer()

    def axes(self, x: float, y: float, width: float, height: float, *, label: str) -> Axes:
        """Axes without ticks at a place on the page."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box, label=label)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def text(self, x: float, y: float, words: str, *, size: float = style.BODY, **kwargs: Any) -> Text:
        """One line of text with its baseline at ``y``; keywords go to matplotlib's Text."""
        return self.figure.text(x / self.width, 1 - y / self.height, printable(words), fontsize=size, **kwargs)

    def paragraph(self, x: float, y: float, width: float, words: str, *, size: float, **kwargs: Any) -> float:
        """Wrapped text whose first baseline is ``y``; returns the baseline that would come next."""
        for line in self.wrap(words, width, size, kwargs.get("fontweight", "normal")):
            self.text(x, y, line, size=size, **kwargs)
            y += line_height(size)
        return y

    def fit(self, words: str, width: float, size: float, weight: str = "normal") -> str:
        """The text, cut with an ellipsis if it is over ``width`` inches wide."""
        if self.measure(words, size, weight) <= width:
            return words
        return words[: self._fitting(words, width, size, weight, "…")].rstrip() + "…"

    def wrap(self, words: str, width: float, size: float, weight: str = "normal", most: int = 99) -> list[str]:
        """At most ``most`` lines of at most ``width`` inches; a word longer than a line (a path) is broken.

        A last line that had to be cut ends with an ellipsis.
        """
        space = self.measure("n n", size, weight) - self.measure("nn", size, weight)
        lines, line, used = [], [], 0.0
        for word in self._breakable(words.split(), width, size, weight):
            length = self.measure(word, size, weight)
            if line and used + space + length > width:
                lines, line, used = [*lines, " ".join(line)], [], 0.0
            used += length + (space if line else 0.0)
            line.append(word)
        lines += [" ".join(line)] if line else []
        if len(lines) > most:
            last = self.fit(f"{lines[most - 1]} {lines[most]}", width, size, weight)
            lines = [*lines[: most - 1], last]
        return lines

    def _breakable(self, words: list[str], width: float, size: float, weight: str) -> Iterator[str]:
        for word in words:
            while self.measure(word, size, weight) > width:
                count = max(self._fitting(word, width, size, weight), 1)
                yield word[:count]
                word = word[count:]
            yield word

    def _fitting(self, words: str, width: float, size: float, weight: str, ending: str = "") -> int:
        """How many letters of a text fit with ``ending`` behind them, by halving."""
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.measure(words[:middle].rstrip() + ending, size, weight) <= width
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def measure(self, words: str, size: float, weight: str = "normal") -> float:
        """Width of a line of text in inches."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(family=families(), size=size, weight=weight)
        return self._renderer.get_text_width_height_descent(printable(words), font, False)[0] / style.DPI

    def box(self, x: float, y: float, width: float, height: float, tone: style.Tone) -> None:
        """A filled box with a bar at its left."""
        from matplotlib.patches import Rectangle

        for w, color in ((width, tone.paper), (0.07, tone.ink)):
            corner = (x / self.width, 1 - (y + height) / self.height)
            size = (w / self.width, height / self.height)
            self.figure.add_artist(Rectangle(corner, *size, transform=self.figure.transFigure, color=color, lw=0))

    def rule(self, x: float, y: float, width: float, color: str = style.RULE, weight: float = 0.8) -> None:
        """A horizontal line."""
        from matplotlib.lines import Line2D

        ends = [x / self.width, (x + width) / self.width]
        height = [1 - y / self.height] * 2
        self.figure.add_artist(Line2D(ends, height, transform=self.figure.transFigure, color=color, lw=weight))

    def save(self, path: Any) -> None:
        """Write the page as PNG."""
        self.figure.savefig(path, format="png", dpi=style.DPI)


def line_height(size: float) -> float:
    """Distance of two baselines in inches for a font size in points."""
    return size * 1.42 / 72


@lru_cache(1)
def families() -> list[str]:
    """The page's font, which matplotlib brings along, and what the system has for scripts that it lacks."""
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return [style.FONT, *(name for name in style.FURTHER_FONTS if name in installed)]


@lru_cache(1)
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    paths = [fontManager.findfont(FontProperties(family=name)) for name in families()]
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


@lru_cache(4096)
def printable(words: str) -> str:
    """The text with an empty box for each letter that no font here has."""
    return "".join(letter if ord(letter) in _letters() else "□" for letter in words)
