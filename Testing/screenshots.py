"""Pictures of the module's panel for the README and the extension catalog: drawn outside 3D Slicer, by Testing/host.

PYTHONPATH=FedKDTAVI:Testing/host QT_QPA_PLATFORM=offscreen python Testing/screenshots.py

Qt draws the real panel on the sample CT, annotated by the shipped bundle; Slicer's own widgets are stand-ins, so sizes
and colours differ a little from Slicer's.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pythonqt

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "Resources" / "Screenshots"
# Roles of QPalette in Slicer's dark style.
DARK = {
    "Window": "#323232", "WindowText": "#ffffff", "Base": "#191919", "AlternateBase": "#282828", "Text": "#ffffff",
    "Button": "#323232", "ButtonText": "#ffffff", "Highlight": "#2a82da", "HighlightedText": "#ffffff",
    "ToolTipBase": "#191919", "ToolTipText": "#ffffff", "PlaceholderText": "#9a9a9a",
}  # fmt: skip


def darken() -> None:
    """Give the application Slicer's dark colours."""
    import qt

    palette = qt.QPalette()
    for role, color in DARK.items():
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(color))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor("#808080"))
    qt.QApplication.setPalette(palette)


def picture(widget, path: Path, width: int) -> None:
    """Draw the panel at this width, as high as its contents."""
    import qt
    import slicer
    from PIL import Image

    widget.parent.show()
    for _ in range(3):  # texts that wrap need their width before their height is known
        height = max(widget.parent.minimumSizeHint().height(), widget.parent.layout().totalHeightForWidth(width))
        widget.parent.resize(width, height)
        slicer.app.processEvents()
    data = qt.QByteArray()
    buffer = qt.QBuffer(data)
    buffer.open(qt.QIODevice.WriteOnly)
    widget.parent.grab().save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(data.data())).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE).save(
        path, optimize=True
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Draw the panel in the middle of a review, light and dark."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures")
    parser.add_argument("--width", type=int, default=380, help="width of the panel in pixels")
    parser.add_argument("--open", nargs="*", default=[], metavar="NAME", help="sections to open besides")
    parser.add_argument("--empty", action="store_true", help="without a CT")
    arguments = parser.parse_args()
    pythonqt.start()
    import qt

    qt.QApplication.setStyle("Fusion")
    widget = pythonqt.loadModule(REPOSITORY / "FedKDTAVI" / "FedKDTAVI.py").widget
    if not arguments.empty:
        widget.ui.sampleButton.click()
        workspace = widget.window.workspace
        widget.logic.annotate(workspace.volumeNode, device="cpu")
        workspace.openReview()
        for _ in range(3):
            widget.ui.acceptButton.click()
    for name in arguments.open:
        getattr(widget.ui, name).collapsed = False
    picture(widget, arguments.out / "panel-light.png", arguments.width)
    darken()
    picture(widget, arguments.out / "panel-dark.png", arguments.width)


if __name__ == "__main__":
    main()
