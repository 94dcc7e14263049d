"""``fedkdtavi report RESULTS...``: read the arms, draw, write one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import EXIT_OK, UsageError

from . import figures, page, results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Raises UsageError or InputError of one sentence when it cannot."""
    parser = Parser(
        prog="fedkdtavi report",
        description="One self-contained HTML page from per-case results of `fedkdtavi evaluate`: error per site and "
        "arm, distances per landmark, coronary height, confidence, paired intervals between arms, the worst cases.",
    )
    parser.add_argument("results", metavar="[NAME=]CSV", nargs="+", help="one file for each arm (model or observer)")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="HTML", help="(default: report.html)")
    parser.add_argument("--title", default="Evaluation of TAVI landmarks and calcium")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR",
        help="for the worst cases: CASE.png, ARM/CASE.png, or CASE/report.png as `fedkdtavi annotate` writes it",
    )  # fmt: skip
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also write the figures as PNG files")
    options = parser.parse_args(argv)
    if options.pictures is not None and not options.pictures.is_dir():
        raise UsageError(f"{options.pictures}: is no folder; give the one that holds the pictures.")
    arms = results.read(options.results)
    pictures = draw(arms)
    text = page.html(arms, pictures, options.pictures, options.title)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
        if options.figures is not None:
            options.figures.mkdir(parents=True, exist_ok=True)
            for name, picture in pictures.items():
                (options.figures / f"{name}.png").write_bytes(picture)
    except OSError as error:
        raise UsageError(f"{error.filename or options.out}: cannot be written ({error.strerror or error}).") from error
    print(f"{options.out}: {len(arms)} arms, {sum(len(arm.rows) for arm in arms)} results.")
    return EXIT_OK


def draw(arms: Sequence[results.Arm]) -> dict[str, bytes]:
    """Section id -> PNG, in the order of the page."""
    count = len(results.sites(arms))
    wide = min(max(10.0, 1.2 + 0.45 * count * len(arms)), 20.0)
    made = {
        "error-per-site": figures.png(figures.error_per_site, arms, (wide, 8.5)),
        "landmark-cdf": figures.png(figures.cumulative, arms, (10, 5)),
        "coronary-height": figures.png(figures.bland_altman, arms, (10, 1.0 + 2.4 * len(arms))),
    }
    if any(len(figures.stated(arm)[0]) for arm in arms):  # observers state no confidence
        made["reliability"] = figures.png(figures.reliability, arms, (7, 5.5))
    return made
