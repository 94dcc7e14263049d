"""The page: one HTML file that needs no other, its sections named so that they can be linked to."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.bundle import paired

from .. import tally
from .figures import CAP_MM
from .results import Arm, Row, failures, gains

GALLERY = 8
_STYLE = """
body{font:15px/1.5 "DejaVu Sans",Verdana,sans-serif;color:#18202b;max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .3rem;border-top:1px solid #d9dee3;padding-top:1rem}
p{margin:.3rem 0 .8rem;max-width:52rem}small,.note{color:#5d6875;font-size:.85rem}
.warn{background:#fff3dc;color:#8a5300;padding:.6rem .9rem;border-radius:4px;max-width:none}
table{border-collapse:collapse;font-size:.82rem;margin:.4rem 0 1rem}td,th{padding:.22rem .7rem;text-align:right}
td:first-child,th:first-child,td.text,th.text{text-align:left}thead th{border-bottom:1px solid #18202b}
tbody tr:nth-child(odd){background:#f5f7f9}.better{color:#1c6840;font-weight:600}.worse{color:#a3211b;font-weight:600}
img{max-width:100%;height:auto}.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:1rem}
.gallery figure{margin:0;border:1px solid #d9dee3;border-radius:4px;padding:.6rem}figcaption{font-size:.82rem}
"""
_WORDS = {
    "error-per-site": (
        "Error per site",
        f"Boxes: quartiles and median; whiskers: 5th to 95th percentile. A point further off than {CAP_MM:g} mm, or "
        "missing, lies at the top and counts in the box.",
    ),
    "landmark-cdf": (
        "How many landmarks are found within a distance",
        f"Share of all cases that have the landmark. A curve that ends below 1 at {CAP_MM:g} mm: the rest is further "
        "off or missing.",
    ),
    "coronary-height": (
        "Coronary height: agreement (Bland and Altman)",
        "Height of the ostium over the annulus plane, both from the same labels. Full line: bias; dashed: limits of "
        "agreement (1.96 SD). What was not measurable is counted in the title.",
    ),
    "reliability": (
        "Can the confidence be believed?",
        "Of landmarks of confidence 0.8, 80 % should lie within 5 mm: on the dashed line. Bars: 95 % interval. Below: "
        "how many landmarks there are.",
    ),
}


def html(arms: Sequence[Arm], pictures: Mapping[str, bytes], gallery: Path | None, title: str) -> str:
    """The whole page; ``pictures``: section id -> PNG."""
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        "<p class='warn'>These are numbers on <b>synthetic phantoms</b> with known truth, unless an arm's name says "
        "otherwise. They are not millimetres on patients and must not be set beside such. Not for clinical use.</p>",
        _arms(arms),
        _section("summary", "Medians, tails, failures", _summaries(arms)),
        _section("paired", "Which is better", _comparisons(arms)) if len(arms) > 1 else "",
    ]
    for name, picture in pictures.items():
        heading, words = _WORDS[name]
        parts.append(_section(name, heading, f"<p class='note'>{words}</p>{_image(picture, heading)}"))
    parts.append(_section("failures", "The worst cases", _gallery(arms, gallery)))
    parts.append(f"<p class='note'>fedkdtavi {fedkdtavi_core.__version__}</p></body></html>\n")
    return "\n".join(part for part in parts if part)


def _arms(arms: Sequence[Arm]) -> str:
    rows = []
    for arm in arms:
        bundles = sorted({str(row["bundle"])[:12] for row in arm.rows if row["bundle"]})
        kept = sum(row["status"] == "annotated" for row in arm.rows)
        rows.append((arm.name, arm.path.name, ", ".join(bundles) or "-", len(arm.rows), kept, len(arm.rows) - kept))
    return _table(("arm", "file", "bundle", "CTs", "annotated", "refused"), rows, texts=3)


def _summaries(arms: Sequence[Arm]) -> str:
    rows = []
    for arm in arms:
        for group, measures in tally.summarise(list(arm.rows)).items():
            if group == "all" or any(not row["in_range"] for row in arm.rows):
                rows += _summary_rows(arm.name, group.replace("_", " "), measures)
    head = ("arm", "scanner styles", "measure", "n", "median", "P95", "missing", "over 10 mm")
    words = (
        "<p class='note'>A missing landmark is infinitely far off in median and P95 (an infinite one is shown as "
        "&infin;) and is never left out. Scanner styles: within the range that was trained on, or out of it. For Dice, "
        "P95 is the 5th percentile.</p>"
    )
    return words + _table(head, rows, texts=3)


def _summary_rows(arm: str, group: str, measures: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[Any, ...]]:
    wanted = {
        "hinges and ostia": "hinge points + ostia, mm",
        "membranous septum": "membranous septum, mm",
        "plane_deg": "annulus plane, degrees",
        "ostium_rca_height": "RCA height, mm",
        "ostium_lca_height": "LM height, mm",
        "area_percent": "annulus area, %",
        "calcium_dice": "calcium Dice",
    }
    for key, name in wanted.items():
        found = measures.get(key)
        if not found or not found["n"]:
            continue
        tail = found["p5"] if "p5" in found else found["p95"]
        missing = found.get("missing", found.get("refused"))
        yield (
            arm,
            group,
            name,
            found["n"],
            _or_infinite(found["median"]),
            _or_infinite(tail),
            missing,
            found.get("over_10_mm", ""),
        )


def _or_infinite(value: float | None) -> str:
    return "\N{INFINITY}" if value is None else f"{value:.2f}"


def _comparisons(arms: Sequence[Arm]) -> str:
    rows = []
    for number, first in enumerate(arms):
        for second in arms[number + 1 :]:
            for measure, (unit, found) in gains(first, second).items():
                if found.values:
                    digits = 2 if unit == "Dice" else 1
                    said = escape(found.sentence(second.name, unit, digits))
                    tone = found.verdict if found.verdict in ("better", "worse") else ""
                    cell = f"<span class='{tone}'>{said}</span>"
                    rows.append((f"{second.name} against {first.name}", measure, found.cases, _Raw(cell)))
    words = (
        "<p class='note'>Mean of paired differences over the CTs that both have, with a 95 % bootstrap interval over "
        f"CTs. An error over {paired.WORST_MM:g} mm (degrees), and a missing landmark, counts as "
        f"{paired.WORST_MM:g}. &ldquo;Better&rdquo; is said only where the interval excludes zero.</p>"
    )
    return words + _table(("arms", "measure", "CTs", "finding"), rows, texts=2, last_text=True)


def _gallery(arms: Sequence[Arm], folder: Path | None) -> str:
    words = (
        "<p class='note'>By the mean error of a CT's landmarks, missing ones counted. "
        + ("" if folder else "Pictures are shown when their folder is given with --pictures.")
        + "</p>"
    )
    cards = []
    for mean, arm, row, errors in failures(arms, GALLERY):
        picture = _picture(folder, arm, row)
        image = "" if picture is None else _image(picture.read_bytes(), str(row["case"]))
        far = "; ".join(f"{schema.by_id(i).name} {_error(e)}" for i, e in list(errors.items())[:3])
        why = f" ({escape(str(row['reason']))})" if row.get("reason") else ""
        style = "" if row["in_range"] else ", scanner out of the training range"
        cards.append(
            f"<figure>{image}<figcaption><b>{escape(str(row['case']))}</b>, {escape(arm.name)}: {mean:.1f} mm<br>"
            f"{far}{why}<br><small>{escape(str(row.get('kind') or ''))}{style}</small></figcaption></figure>"
        )
    return f"{words}<div class='gallery'>{''.join(cards)}</div>"


def _picture(folder: Path | None, arm: Arm, row: Row) -> Path | None:
    """``<arm>/<case>.png``, ``<case>.png``, or the ``report.png`` that annotate has written for the case."""
    if folder is None:
        return None
    case = str(row["case"])
    tried = (folder / arm.name / f"{case}.png", folder / f"{case}.png", folder / case / "report.png")
    return next((path for path in tried if path.is_file()), None)


class _Raw(str):
    """Text that is HTML already."""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, texts: int, last_text: bool = False) -> str:
    def cell(tag: str, number: int, value: Any) -> str:
        text = number < texts or (last_text and number == len(head) - 1)
        shown = value if isinstance(value, _Raw) else escape(str(value))
        return f"<{tag}{' class=text' if text else ''}>{shown}</{tag}>"

    top = "".join(cell("th", n, name) for n, name in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", n, v) for n, v in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _section(name: str, heading: str, content: str) -> str:
    return f"<section id='{name}'><h2>{heading}</h2>{content}</section>"


def _image(picture: bytes, words: str) -> str:
    data = base64.b64encode(picture).decode()
    return f"<img alt='{escape(words, quote=True)}' src='data:image/png;base64,{data}'>"


def _error(value: float) -> str:
    return f"{value:.1f} mm" if value != float("inf") else "missing"
