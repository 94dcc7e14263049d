"""How the page looks: sizes in inches and points, colours, and the CT windows."""

from __future__ import annotations

from dataclasses import dataclass

from ..numbers import fixed

PAGE = (16.0, 10.0)  # inches, landscape
DPI = 120
MARGIN = 0.42

INK, MUTED, RULE, PAPER = "#18202b", "#5d6875", "#d9dee3", "#ffffff"
DARK, ON_DARK, FAINT_ON_DARK = "#0a0d12", "#f3f5f7", "#9aa5b1"
ACCENT = "#0f5c8c"
HEIGHT_LINE, SECOND_LINE = "#ffd166", "#7fe3d4"
BAND_ODD = "#f5f7f9"

TITLE, HEADING, BODY, SMALL, TINY = 17.0, 10.0, 8.6, 7.6, 6.8

FONT = "DejaVu Sans"  # comes with matplotlib: the page is the same everywhere
FURTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC",
    "Hiragino Sans", "Arial Unicode MS", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip

# The settings matplotlib reads while the page is made. A "$" in a file name is a dollar sign, not mathematics.
SETTINGS = {
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "savefig.facecolor": PAPER,
}


@dataclass(frozen=True)
class Tone:
    """Colours of a message box: edge and words, and paper."""

    ink: str
    paper: str


STOP = Tone("#a3211b", "#fdebe9")
CAUTION = Tone("#8a5300", "#fff3dc")
GOOD = Tone("#1c6840", "#e7f4ec")


@dataclass(frozen=True)
class Window:
    """A CT window in HU, and in a few words why it is this one."""

    width: float
    level: float
    why: str = ""
    least: float = 0.5  # it may be narrowed to this share of it, for weak contrast

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest HU shown."""
        return self.level - self.width / 2, self.level + self.width / 2

    def __str__(self) -> str:
        return f"W {self.width:.0f} / L {self.level:.0f}"


ANGIO = Window(800, 300)  # for a lumen of CONTRAST_HU; other lumens scale it, so that blood is always as bright
# Wide enough that calcium stays brighter than contrast under a maximum intensity projection.
CALCIUM = Window(1200, 450, least=1.0)
CONTRAST_HU = 400.0
MOST_SCALE = 2.0
PLAIN = Window(350, 40, "no contrast")  # the usual window of the mediastinum


def window(usual: Window, lumen_hu: float | None, contrasted: bool) -> Window:
    """``usual``, made for contrast of ``CONTRAST_HU``, as it suits a lumen of ``lumen_hu`` (None: not known)."""
    if lumen_hu is None:
        return usual
    if not contrasted:
        return PLAIN
    scale = min(max(lumen_hu / CONTRAST_HU, usual.least), MOST_SCALE)
    return Window(
        10 * round(usual.width * scale / 10), 10 * round(usual.level * scale / 10), f"lumen {fixed(lumen_hu)} HU"
    )
