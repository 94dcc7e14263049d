"""The training side's subcommands of ``fedkdtavi``: each function takes the arguments after its name."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def train(arguments: list[str] | None = None) -> int:
    """``fedkdtavi train CONFIG``: train one network, or go on with a run that was cut off."""
    parser = argparse.ArgumentParser(prog="fedkdtavi train", description=train.__doc__)
    parser.add_argument("config", type=Path, help="JSON configuration; every key is known or refused")
    parser.add_argument("--out", type=Path, help="output folder instead of the configuration's")
    parser.add_argument("--cache", type=Path, action="append", help="cache folder(s) instead of the configuration's")
    parser.add_argument("--seed", type=int, help="seed instead of the configuration's")
    parser.add_argument("--steps", type=int, help="number of steps instead of the configuration's")
    options = parser.parse_args(arguments)
    from . import config, train

    chosen = config.read(options.config)
    changes = {
        key: getattr(options, key) for key in ("out", "cache", "seed", "steps") if getattr(options, key) is not None
    }
    chosen = config.TrainConfig.model_validate(chosen.model_dump() | changes)
    print(json.dumps(train.train(chosen), indent=2))
    return 0


def phantom(arguments: list[str] | None = None) -> int:
    """``fedkdtavi phantom``: virtual hospitals as CT files, or a cache of training phantoms (--cache)."""
    parser = argparse.ArgumentParser(prog="fedkdtavi phantom", description=phantom.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; what is there already is kept")
    parser.add_argument("--cache", choices=("crop", "chest"), help="render training phantoms of this kind")
    parser.add_argument("--sites", type=int, default=1, help="virtual hospitals")
    parser.add_argument("--cases", type=int, default=4, help="cases in all (cache) or per hospital")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of a cache")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="voxels along a cached crop's side")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.cache is None:
        from .phantom import hospital

        hospital.write(options.out, sites=options.sites, cases=options.cases, seed=options.seed)
        return 0
    from . import cache

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
        first=options.first,
        report=report,
    )
    return 0
