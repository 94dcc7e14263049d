"""The status as one HTML file that needs no other: for a coordinator who looks at it in a browser."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from . import status as words
from .certificates import WARN_DAYS

_STYLE = """
body{font:15px/1.5 "DejaVu Sans",Verdana,sans-serif;color:#18202b;max-width:960px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:1.8rem 0 .4rem}p{margin:.3rem 0}.note{color:#5d6875}
.warn{background:#fff3dc;color:#8a5300;padding:.5rem .8rem;border-radius:4px}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;text-align:left;vertical-align:top}
thead th{border-bottom:1px solid #18202b}tbody tr:nth-child(odd){background:#f5f7f9}
.bar{background:#d9dee3;border-radius:3px;height:.6rem;width:10rem}.bar i{display:block;height:100%;background:#2b6cb0;
border-radius:3px}.bad{color:#a3211b;font-weight:600}.good{color:#1c6840}
"""


def html(status: words.Status) -> str:
    """The whole page, for a server or a simulation."""
    title = f"Federation {status['project']}" if status["project"] else "Simulated federation"
    known = [status["server"] and f"server {status['server']}", status["k"] and f"k = {status['k']}"]
    known += [f"fedkdtavi {status['version']}", f"written {words.clock(status['updated'])} UTC"]
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p class='note'>{escape(', '.join(part for part in known if part))}. "
        "Not for clinical use.</p>",
        *(f"<p class='warn'>{escape(warning)}</p>" for warning in status["warnings"]),
        "<h2>Rounds</h2>",
        _table(("Stage", "", "Stands at"), [_stage(stage) for stage in status["stages"]], "No round is done yet."),
        "<h2>Sites</h2>",
        _table(
            ("Site", "Last seen (UTC)", "Last round", "Certificate"), [_site(site) for site in status["sites"]], "None."
        ),
        "<h2>Frozen heads</h2>",
        _table(
            ("Stage", "Round", "Why"),
            [[escape(one["stage"]), str(one["round"]), escape(one["why"])] for one in words.latest(status["frozen"])],
            "None: every head was averaged over enough sites.",
        ),
        "<h2>Refused at the door</h2>",
        _table(
            ("When (UTC)", "Site", "Why"),
            [
                [escape(words.clock(one["at"])), escape(one["site"]), escape(one["reason"])]
                for one in status["refused"][-10:]
            ],
            "Nobody.",
        ),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _stage(stage: dict[str, Any]) -> list[str]:
    done = stage["history"][-1]["round"] if stage["history"] else 0
    share = 100 * done / stage["of"] if stage["of"] else 0
    return [escape(stage["name"]), f"<div class='bar'><i style='width:{share:.0f}%'></i></div>",
            escape(words.rounds(stage))]  # fmt: skip


def _site(site: dict[str, Any]) -> list[str]:
    kind = {"averaged": "good", "failed": "bad", "refused": "bad"}.get(site["outcome"], "")
    days = site["certificate_days"]
    left = "-" if days is None else f"{days} days left"
    if days is not None and days < WARN_DAYS:
        left = f"<span class='bad'>{left}</span>"
    return [escape(site["name"]), escape(words.clock(site["seen"])),
            f"<span class='{kind}'>{escape(words.last(site))}</span>", left]  # fmt: skip


def _table(head: Iterable[str], rows: list[list[str]], empty: str) -> str:
    if not rows:
        return f"<p class='note'>{empty}</p>"
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr></thead><tbody>{body}</tbody></table>"
