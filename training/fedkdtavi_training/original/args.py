"""The flags of ``train_federated.py``: what each means, and which of them make no sense together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import UsageError

TASKS = ("hinge points + ostia", "membranous septum", "calcification")
MODEL_TYPES = ("swin_unetr", "unetr", "nnunet")
# Where a flag that was not given stands. None in what is parsed means "not given", so that none is ignored unseen.
DEFAULTS = {"num_rounds": 1, "epochs": 1, "batch_size": 2, "test_ratio": 0.2}
_LEARNING = ("epochs", "batch_size", "batch_maxnum", "finetune", "patches")

_ABOUT = """\
Train or test in rounds over many hospitals, in this process.

A ROUND (--num_rounds) is federated: every hospital trains on its own cases, then their weights are averaged into one.
An EPOCH (--epochs) is local: one pass of a hospital through its own cases, so many of them in every round.
(The README of the published system can be read the other way round; its code is as here.)"""
_END = """\
Models are trained on synthetic phantoms unless you bring site datasets; not for clinical use.
Exit codes: 0 done; 1 could not go on; 2 wrong use; 4 input refused; 5 bundle refused; 130 cancelled."""


def parser() -> argparse.ArgumentParser:
    """The published flags, then the few that this project adds."""
    p = Parser(
        prog="train_federated.py",
        description=_ABOUT,
        epilog=_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument(
        "-t", "--task", type=int, choices=(0, 1, 2, 3), default=0,
        help="0: distillation (teachers, their pseudo-labels, one student with all heads); the teacher of "
        "1: hinge points + ostia, 2: membranous septum, 3: calcification (default 0)",
    )  # fmt: skip
    p.add_argument(
        "-l", "--locations", nargs="+", metavar="NAME", help="hospitals that take part, by folder name (default: all)"
    )
    p.add_argument("-m", "--mode", choices=("train", "test"), default="train", help="(default: train)")
    p.add_argument("--num_rounds", type=_positive, help="federated rounds: times that weights are averaged (default 1)")
    p.add_argument("-e", "--epochs", type=_positive, help="local epochs of each hospital in every round (default 1)")
    p.add_argument("--batch_size", type=_positive, help="cases in one optimiser step (default 2)")
    p.add_argument(
        "--test_ratio", type=_share, help="share of each hospital's cases kept for testing, in train and test (0.2)"
    )
    p.add_argument(
        "--test_on_global_updates", "--test_on_gobal_updates", action="store_true",
        help="test the averaged weights on every hospital's test cases: before each round and at the end",
    )  # fmt: skip
    p.add_argument(
        "--test_on_local_updates", action="store_true",
        help="test what a hospital made of them, before it is averaged; with --mode test the hospital trains one round "
        "of --epochs for it, and nothing is averaged",
    )  # fmt: skip
    p.add_argument("--exp_name", help="name of the experiment: its folder in --out (default: task<T>)")
    p.add_argument("--ckpt", type=Path, help="weights (.safetensors) to start from, or to test")
    p.add_argument(
        "--condition_on_seg", action="store_true", help="the heart's classes as a second input channel of every network"
    )
    p.add_argument("--output_seg", action="store_true", help="the heart's classes as a further head")
    p.add_argument(
        "--patches", action="store_true", default=None,
        help="train on patches from anywhere in the cropped heart, not mostly around the root",
    )  # fmt: skip
    p.add_argument(
        "--model_type", choices=MODEL_TYPES,
        help="network of the student (task 0) or the teacher (default: swin_unetr for task 0, else nnunet, or what "
        "--ckpt holds); the teachers of task 0 are always nnunet",
    )  # fmt: skip
    p.add_argument("--finetune", action="store_true", default=None, help="train the heads of --ckpt, backbone frozen")
    p.add_argument("--local", action="store_true", help="every hospital alone; nothing is averaged between them")
    p.add_argument(
        "--tags", nargs="+", metavar="TAG",
        help="only hospitals that have all of these: a head they hold labels for (hps, ms, calc), phantom, or a word "
        "of the note in their site.json",
    )  # fmt: skip
    p.add_argument("--batch_maxnum", type=_positive, help="at most so many batches in an epoch (default: no limit)")
    more = p.add_argument_group("not in the published system")
    more.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR",
        help="folder with one folder for each hospital: a site dataset, or a cache of crops (default: data)",
    )  # fmt: skip
    more.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="for results (default: runs)")
    more.add_argument("--bundle", type=Path, help="whose coarse network crops site datasets (default: the one in use)")
    more.add_argument(
        "--base", type=Path, metavar="JSON", help="experiment keys (teacher, student, pseudo ...) under the flags"
    )
    more.add_argument("--seed", type=int, default=None, help="(default 0)")
    return p


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags that make sense together; ``locations`` and ``tags`` as tuples.

    Raises:
        UsageError: one sentence on the first thing that does not.
    """
    args = parser().parse_args(argv)
    args.locations = names(args.locations)
    args.tags = names(args.tags)
    problem = _problem(args)
    if problem is not None:
        raise UsageError(f"train_federated.py: {problem}.")
    args.exp_name = args.exp_name or f"task{args.task}"
    return args


def value(args: argparse.Namespace, name: str) -> float:
    """A flag's value, or its default."""
    given = getattr(args, name)
    return DEFAULTS[name] if given is None else given


def names(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """``a b``, ``a,b`` and ``[a, b]`` are the same list of names."""
    if given is None:
        return None
    return tuple(name for name in " ".join(given).replace(",", " ").strip("[] ").split() if name)


def _problem(args: argparse.Namespace) -> str | None:
    if args.condition_on_seg and args.output_seg:
        return "--condition_on_seg and --output_seg exclude each other; what is put in need not be put out"
    if args.locations is not None and len(set(args.locations)) != len(args.locations):
        return "--locations names a hospital twice; name each once"
    if args.locations == () or args.tags == ():
        return "--locations and --tags need at least one name; leave them out for all"
    if args.exp_name is not None and (not args.exp_name or Path(args.exp_name).name != args.exp_name):
        return f"--exp_name {args.exp_name!r} is no folder name; give one without slashes"
    if (args.test_on_global_updates or args.test_on_local_updates) and value(args, "test_ratio") == 0:
        return "with --test_ratio 0 no case is left to test on; give a share above 0"
    if args.test_on_global_updates and args.local:
        return "--local makes no global updates to test; use --test_on_local_updates or leave --local out"
    return _problem_of_test(args) if args.mode == "test" else _problem_of_train(args)


def _problem_of_train(args: argparse.Namespace) -> str | None:
    if args.finetune and args.ckpt is None:
        return "--finetune trains the heads of given weights; give them with --ckpt"
    if value(args, "test_ratio") == 1:
        return "with --test_ratio 1 no case is left to learn from; give a share below 1"
    return None


def _problem_of_test(args: argparse.Namespace) -> str | None:
    if args.local:
        return "--local says how to train, and --mode test does not; leave one of them out"
    if args.num_rounds is not None:
        return "--num_rounds says how to train, and --mode test averages nothing; leave it out"
    if value(args, "test_ratio") == 0:
        return "with --test_ratio 0 no case is left to test on; give a share above 0"
    if args.test_on_local_updates and args.test_ratio == 1:
        return "--test_on_local_updates trains before it tests, and --test_ratio 1 leaves no case for that"
    extra = [name for name in _LEARNING if getattr(args, name) is not None]
    if extra and not args.test_on_local_updates:
        return f"--{extra[0]} says how to train; with --mode test it needs --test_on_local_updates"
    return None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return number
