"""The training side's subcommands of ``fedkdtavi``: each function takes the arguments after its name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fedkdtavi_core.cli.options import Parser


def train(arguments: list[str] | None = None) -> int:
    """Train one network, or go on with a run that was cut off."""
    parser = Parser(prog="fedkdtavi train", description="Train one network, or go on with a run that was cut off.")
    parser.add_argument("config", type=Path, help="JSON configuration; every key is known or refused")
    parser.add_argument("--out", type=Path, help="output folder instead of the configuration's")
    parser.add_argument("--cache", type=Path, action="append", help="cache folder(s) instead of the configuration's")
    parser.add_argument("--seed", type=int, help="seed instead of the configuration's")
    parser.add_argument("--steps", type=int, help="number of steps instead of the configuration's")
    options = parser.parse_args(arguments)
    from . import config
    from .train import train as run

    given = {key: getattr(options, key) for key in ("out", "cache", "seed", "steps")}
    changes = {key: value for key, value in given.items() if value is not None}
    chosen = config.read_as(config.TrainConfig, options.config, changes=changes)
    print(json.dumps(run(chosen), indent=2))
    return 0


def distill(arguments: list[str] | None = None) -> int:
    """Teachers, their pseudo-labels and the student, in rounds over many sites; or what is left of it."""
    return _experiment(
        "distill", "Train teachers, let them label every CT, and train the student; or go on.", arguments
    )


def finetune(arguments: list[str] | None = None) -> int:
    """Train the heads of given weights on true labels, the backbone frozen."""
    return _experiment("finetune", "Train the heads of given weights on true labels, the backbone frozen.", arguments)


def _experiment(name: str, about: str, arguments: list[str] | None) -> int:
    parser = Parser(
        prog=f"fedkdtavi {name}",
        description=about + " A round: every site trains for its local steps or epochs, then the weights are averaged.",
    )
    parser.add_argument("config", type=Path, help="JSON configuration; every key is known or refused")
    parser.add_argument("--out", type=Path, help="output folder instead of the configuration's")
    parser.add_argument("--seed", type=int, help="seed instead of the configuration's")
    parser.add_argument(
        "--arm",
        action="append",
        choices=("federated", "local", "pooled"),
        help="arm(s) instead of the configuration's: many sites, each site alone, all cases in one place",
    )
    options = parser.parse_args(arguments)
    from .federated import config, experiment

    given = {"out": options.out, "seed": options.seed, "arms": options.arm}
    chosen = config.read(options.config, {key: value for key, value in given.items() if value is not None})
    summaries = experiment.run(chosen, finetune=name == "finetune")
    print(json.dumps(summaries, indent=2))
    return 0


def next_round(arguments: list[str] | None = None) -> int:
    """From a bundle's own weights and newly reviewed labels to the next bundle, or what is left of it."""
    parser = Parser(
        prog="fedkdtavi next-round",
        description="Train a bundle's student on what reviewers have confirmed since, and make a new bundle that names "
        "its parent. Then `fedkdtavi bundle compare OLD NEW SITE` tells a site which is better.",
    )
    parser.add_argument("config", type=Path, help="JSON configuration; every key is known or refused")
    parser.add_argument("--force", action="store_true", help="replace another bundle that lies at new_bundle already")
    options = parser.parse_args(arguments)
    from .next_round import run, settings

    print(json.dumps(run.run(settings.read(options.config), force=options.force), indent=2))
    return 0


def phantom(arguments: list[str] | None = None) -> int:
    """Make virtual hospitals, or with --cache crop|chest the phantoms that ``fedkdtavi train`` reads."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not any(word.split("=")[0] == "--cache" for word in arguments):
        from .phantom import command

        return command.main(arguments)
    from . import cache
    from .phantom.command import spacing_mm

    parser = Parser(prog="fedkdtavi phantom --cache", description="Render phantoms to learn from.")
    parser.add_argument("--cache", choices=("crop", "chest"), required=True, help="dense crops, or chests at 4 mm")
    parser.add_argument("--out", type=Path, required=True, help="folder; what is there already is kept")
    parser.add_argument("--cases", type=int, required=True, help="number of phantoms in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first one to render here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coronary", action="store_true", help="also label the coronary arteries (crops only)")
    parser.add_argument("--size", type=int, default=96, help="voxels along a crop's side")
    parser.add_argument(
        "--spacing",
        type=spacing_mm,
        default=cache.CROP_SPACING_MM,
        help="mm of a crop's voxels (1.25); 0.85 for the closer look of the shipped student",
    )
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args(arguments)

    def report(done: int, todo: int) -> None:
        if done % 50 == 0 or done == todo:
            print(f"{done}/{todo} phantoms", file=sys.stderr, flush=True)

    cache.write(
        options.out,
        options.cache,
        options.cases,
        options.seed,
        processes=options.processes,
        size=options.size,
        spacing=options.spacing,
        coronary=options.coronary,
        first=options.first,
        report=report,
    )
    return 0


def evaluate(arguments: list[str] | None = None) -> int:
    """Evaluate a bundle on virtual hospitals, the product's way."""
    from .evaluate import main

    return main(arguments)


def report(arguments: list[str] | None = None) -> int:
    """One page from per-case results of several arms."""
    from .report.command import main

    return main(arguments)


def arms(arguments: list[str] | None = None) -> int:
    """Run comparison arms unit by unit, and write their paired table."""
    from .arms.command import main

    return main(arguments)


def export(arguments: list[str] | None = None) -> int:
    """Make a sealed model bundle of two trained networks."""
    from .export_command import main

    return main(arguments)


def weights(arguments: list[str] | None = None) -> int:
    """Write the weights of one of a bundle's networks."""
    from .bundle_weights import main

    return main(arguments)


def average(arguments: list[str] | None = None) -> int:
    """Make the mean of several runs' weights."""
    from .average import main

    return main(arguments)


def calibrate(arguments: list[str] | None = None) -> int:
    """Make the calibration table of a bundle from per-case results."""
    from .calibrate import main

    return main(arguments)


def federation(arguments: list[str] | None = None) -> int:
    """Train over many hospitals, each on its own machine."""
    from .federation.command import main

    return main(arguments)
