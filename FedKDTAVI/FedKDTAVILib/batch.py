"""Annotates a folder of CTs, without a window and without a question.

    Slicer --no-main-window --python-script .../FedKDTAVILib/batch.py -- --in FOLDER --out FOLDER [options]

Every CT gets a folder of its own with labels, measurements, picture and provenance, all of it or none, and a process of
its own: memory stays flat, and a CT that crashes it stops none of the others. Exit codes are those of the command line.
With --site every result also becomes a case of a site dataset, all its labels predicted: reviewers open it later.
"""

# ASCII only: Slicer reads a script in whatever the system's code page is.
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # started as a script: the module's packages lie beside it, and come before installed ones
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from slicer.i18n import tr as _

from fedkdtavi_core.errors import EXIT_CANCELLED, EXIT_OK, FedKDTAVIError, UsageError
from fedkdtavi_core.labels.annotated import PROVENANCE
from fedkdtavi_core.site.dataset import SITE, open_site
from fedkdtavi_core.site.import_labels import case_with
from fedkdtavi_core.site.incoming import ct_digest
from fedkdtavi_core.site.init import init_site
from fedkdtavi_core.site.localkey import default_key
from FedKDTAVILib.batchCases import BatchCase, findCases
from FedKDTAVILib.blockingProcess import BlockingProcess
from FedKDTAVILib.messages import Done, Failed, Message, helloProblem
from FedKDTAVILib.process import Ended

_EXIT_UNEXPECTED = 1
_WATCHED = ("--progress", "json", "--cancel-on-stdin-close")


@dataclass(frozen=True)
class Outcome:
    """What became of a CT: ``exitCode`` as the command line's, a ``sentence`` where it failed, seconds taken."""

    case: BatchCase
    exitCode: int
    sentence: str
    seconds: float


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UsageError(_("{message} (see --help).").format(message=message))


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = _Parser(prog="batch.py", description=_("Annotates a folder of CTs. Trained on synthetic phantoms; not for clinical use."))  # fmt: skip  # noqa: E501
    result.add_argument("--in", dest="input", metavar="FOLDER", type=Path, required=True,
                        help=_("folder with CTs (files or DICOM folders), or a site dataset"))  # fmt: skip
    result.add_argument("--out", metavar="FOLDER", type=Path, required=True, help=_("folder for the results"))
    result.add_argument("--site", metavar="FOLDER", type=Path,
                        help=_("site dataset that takes the CTs, without identity, with the predictions to review"))  # fmt: skip  # noqa: E501
    result.add_argument("--bundle", metavar="B", help=_("model bundle, folder or zip (default: the one in use)"))
    result.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=_("where the networks run"))
    result.add_argument("--force", action="store_true", help=_("replace results that are there, corrections included"))
    result.add_argument("--resume", action="store_true", help=_("leave out CTs whose result is there already"))
    result.add_argument("--no-report", action="store_true", help=_("do not draw report.png"))
    result.add_argument("--install", action="store_true", help=_("install the Python packages that are missing"))
    result.add_argument("--wheels", metavar="FOLDER", default="", help=_("install them from this folder"))
    return result


def main(argv: Sequence[str]) -> int:
    """Run the batch; returns the exit code. Never raises, never opens a dialog."""
    arguments = list(argv)
    if arguments[:1] == ["--"]:  # what parts Slicer's own options from the script's
        del arguments[0]
    try:
        options = parser().parse_args(arguments)
        _needPackages(options)
        return run(options)
    except SystemExit as finished:  # --help
        return int(finished.code or EXIT_OK)
    except KeyboardInterrupt:
        _say(_("Cancelled; nothing half-written was left."), error=True)
        return EXIT_CANCELLED
    except FedKDTAVIError as error:
        _say(str(error), error=True)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    """Annotate every CT, one after another, and close with a summary."""
    cases = findCases(options.input)
    if options.site is not None and not (options.site / SITE).exists():
        init_site(options.site)
    if options.resume:
        left = [case for case in cases if not (_isAnnotated(case, options) and _isInSite(case, options))]
        if len(left) < len(cases):
            _say(_("{count} CTs are done already.").format(count=len(cases) - len(left)))
        cases = left
    outcomes: list[Outcome] = []
    for number, case in enumerate(cases, start=1):
        outcome = annotateCase(case, options)
        outcomes.append(outcome)
        head = f"[{number}/{len(cases)}] {case.name}"
        if outcome.exitCode == EXIT_OK:
            _say(_("{case}: done in {seconds:.1f} s").format(case=head, seconds=outcome.seconds))
        else:
            _say(f"{head}: {outcome.sentence}", error=True)
        if outcome.exitCode == EXIT_CANCELLED:
            break
    failed = [outcome for outcome in outcomes if outcome.exitCode != EXIT_OK]
    _say(
        _("{done} of {count} CTs annotated, {failed} failed.").format(
            done=len(outcomes) - len(failed), count=len(cases), failed=len(failed)
        )
    )
    for outcome in failed:
        _say(_("  {case}: exit code {code}").format(case=outcome.case.path, code=outcome.exitCode))
    if options.site is not None and len(failed) < len(outcomes):
        _say(
            _("{site}: holds the predictions; until a person has reviewed them they are no ground truth.").format(
                site=options.site
            )
        )
    return failed[0].exitCode if failed else EXIT_OK


def annotateCase(case: BatchCase, options: argparse.Namespace) -> Outcome:
    """Annotate one CT, and take it into the site if there is one; each in a process of its own."""
    start = time.monotonic()
    code, sentence = EXIT_OK, ""
    if not (options.resume and _isAnnotated(case, options)):
        code, sentence = _work(_arguments(case, options))
    if code == EXIT_OK and options.site is not None:
        site, result = options.site.resolve(), (options.out / case.name).resolve()
        code, sentence = _work(["-m", "fedkdtavi_core", "site", "import", str(site), str(result), "--add", *_WATCHED])
    return Outcome(case, code, sentence, time.monotonic() - start)


def _work(arguments: list[str]) -> tuple[int, str]:
    """Exit code and sentence of a child; a KeyboardInterrupt ends it first."""
    process = BlockingProcess()
    messages: list[Message] = []
    problems: list[str] = []
    ended: list[Ended] = []

    def take(message: Message) -> None:
        if not messages and (problem := helloProblem(message)):
            problems.append(problem)
            process.cancel()
        messages[1:] = [message]  # the first and the last are enough

    process.start(arguments, take, ended.append)
    try:
        process.wait()
    finally:
        if process.isRunning():
            process.cancel()
            process.wait()
    return _judged(ended[0], messages[-1] if messages else None, problems)


def _isAnnotated(case: BatchCase, options: argparse.Namespace) -> bool:
    return (options.out / case.name / PROVENANCE).is_file()


def _isInSite(case: BatchCase, options: argparse.Namespace) -> bool:
    """Has the site, if there is one, labels for the CT of this result?"""
    if options.site is None:
        return True
    digest = ct_digest(options.out / case.name)
    found = None if digest is None else case_with(open_site(options.site), digest, default_key(options.site))
    return found is not None and bool(found.record.labels)


def _arguments(case: BatchCase, options: argparse.Namespace) -> list[str]:
    arguments = ["-m", "fedkdtavi_core", "annotate", str(case.path.resolve()), "--out", str(options.out.resolve())]
    arguments += ["--name", case.name, "--device", options.device, *_WATCHED]
    if options.bundle:
        # The child works in the module's folder, where a relative path would mean another place.
        arguments += ["--bundle", str(Path(options.bundle).resolve())]
    return arguments + [f"--{name}" for name in ("force", "no-report") if getattr(options, name.replace("-", "_"))]


def _judged(ended: Ended, last: Message | None, problems: list[str]) -> tuple[int, str]:
    if problems:
        return _EXIT_UNEXPECTED, problems[0]
    if isinstance(last, Done):
        return EXIT_OK, ""
    if isinstance(last, Failed) and ended.exitCode:
        return ended.exitCode, last.sentence
    lines = [line for line in ended.log.splitlines() if line.strip()]
    sentence = _("The annotation crashed, perhaps for lack of memory ({reason}); run it again with --resume.").format(
        reason=lines[-1].strip() if lines else _("it said nothing")
    )
    return ended.exitCode or _EXIT_UNEXPECTED, sentence


def _needPackages(options: argparse.Namespace) -> None:
    from FedKDTAVILib.install import ensureInstalled, installPlan

    plan = installPlan()
    if not plan.packages:
        return
    if not options.install:
        _say(plan.text, error=True)
        raise UsageError(_("Python packages are missing; add --install to agree to their installation."))
    ensureInstalled(lambda _plan: True, options.wheels)


def _say(text: str, *, error: bool = False) -> None:
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


if __name__ == "__main__":
    import slicer.util

    slicer.util.exit(main(sys.argv[1:]))
