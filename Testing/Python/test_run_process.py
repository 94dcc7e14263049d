"""Child processes, on QProcess and without Qt: how they end, are cancelled, killed, and what they leave to be read."""

from __future__ import annotations

import statistics
import time

import pytest

from fedkdtavi_core.errors import UsageError
from FedKDTAVILib import process as processes
from FedKDTAVILib.blockingProcess import BlockingProcess
from FedKDTAVILib.messages import Done, ProgressMessage
from FedKDTAVILib.process import ChildProcess, Ended

RESULT = 'print(\'{"event": "result", "status": "done"}\')'
STUBBORN = "import time; print('begun', flush=True)\nwhile True: time.sleep(0.1)"
OBEDIENT = "import sys; sys.stdin.read(); sys.exit(130)"


def waitFor(process, condition, seconds: float = 20.0) -> None:
    """Let Qt (or the blocking process) work until the condition holds."""
    import slicer

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        slicer.app.processEvents()
        time.sleep(0.002)


class Run:
    """A process of either kind, its messages and its end."""

    def __init__(self, kind) -> None:
        self.process, self.messages, self.ended = kind(), [], []

    def start(self, program: str, *arguments: str) -> Run:
        self.process.start(["-c", program, *arguments], self.messages.append, self.ended.append)
        return self

    def finish(self) -> Ended:
        if isinstance(self.process, BlockingProcess):
            self.process.wait()
        else:
            waitFor(self.process, lambda: self.ended)
        assert len(self.ended) == 1
        assert not self.process.isRunning()
        return self.ended[0]


@pytest.fixture(params=[BlockingProcess, ChildProcess])
def run(request):
    """One :class:`Run`, for both kinds of processes."""
    result = Run(request.param)
    yield result
    if result.process.isRunning():
        result.process.cancel()
        result.finish()


def test_messages_and_log(run):
    program = f"import sys\n{RESULT}\nprint('Ärger', file=sys.stderr)\nsys.exit(3)"
    ended = run.start(program).finish()
    assert (ended.exitCode, ended.started) == (3, True)
    assert [type(message) for message in run.messages] == [Done]
    assert ended.log == "Ärger"


def test_a_crash_is_no_exit_code(run):
    ended = run.start("import os, sys; print('last words', flush=True); os.kill(os.getpid(), 9)").finish()
    assert ended == Ended(None, True, "last words")


def test_it_works_in_the_modules_folder(run):
    ended = run.start("import os, fedkdtavi_core; print(os.getcwd()); print(fedkdtavi_core.__file__)").finish()
    folder, core = ended.log.splitlines()
    assert folder == str(processes.MODULE_FOLDER)
    assert core == str(processes.MODULE_FOLDER / "fedkdtavi_core" / "__init__.py")


def test_arguments_with_spaces_and_umlauts(run, tmp_path):
    argument = str(tmp_path / 'Ordner mit "ü" & Ж')
    ended = run.start("import sys; print(ascii(sys.argv[1]))", argument).finish()
    assert ended.log == ascii(argument)


def test_many_lines_in_order(run):
    program = 'for i in range(3000): print(\'{"event": "progress", "fraction": %.6f, "message": "m"}\' % (i / 3000))'
    assert run.start(program).finish().exitCode == 0
    fractions = [message.fraction for message in run.messages]
    assert len(fractions) == 3000
    assert fractions == sorted(fractions)


def test_nothing_to_run_is_told(run, monkeypatch, tmp_path):
    monkeypatch.setattr(processes.shutil, "which", lambda name: str(tmp_path / "PythonSlicer"))
    ended = run.start("pass").finish()
    assert (ended.exitCode, ended.started) == (None, False)


def test_pythonslicer_comes_first(monkeypatch):
    monkeypatch.setattr(processes.shutil, "which", lambda name: f"/slicer/bin/{name}")
    assert processes.pythonExecutable() == "/slicer/bin/PythonSlicer"
    monkeypatch.setattr(processes.shutil, "which", lambda name: None)
    monkeypatch.setattr(processes.sys, "executable", "/slicer/bin/SlicerApp-real")
    with pytest.raises(UsageError, match="PythonSlicer"):
        processes.pythonExecutable()


@pytest.mark.parametrize(("program", "code"), [(OBEDIENT, 130), (STUBBORN, None)])
def test_cancel_within_a_second(run, program, code):
    run.start(program)
    time.sleep(0.3)
    start = time.monotonic()
    run.process.cancel()
    run.process.cancel()
    ended = run.finish()
    assert time.monotonic() - start < 1.0
    assert ended.exitCode == code
    run.process.cancel()  # harmless afterwards


def test_one_at_a_time_and_then_again(run):
    run.start(OBEDIENT)
    with pytest.raises(UsageError, match="running already"):
        run.start(OBEDIENT)
    run.process.cancel()
    run.finish()
    run.ended.clear()
    assert run.start(RESULT).finish().exitCode == 0


def test_the_next_can_start_from_the_end_of_one():
    process, codes = ChildProcess(), []

    def again(ended: Ended) -> None:
        codes.append(ended.exitCode)
        if len(codes) < 3:
            process.start(["-c", f"raise SystemExit({len(codes)})"], print, again)

    process.start(["-c", "pass"], print, again)
    waitFor(process, lambda: len(codes) == 3)
    assert codes == [0, 1, 2]


def test_progress_reaches_the_window_in_time(record_property):
    """From the child's print to our callback: 50 ms at the 95th percentile."""
    program = (
        "import time\n"
        "for i in range(100):\n"
        '    print(\'{"event": "progress", "fraction": 0.5, "message": "%r"}\' % time.time(), flush=True)\n'
        "    time.sleep(0.01)"
    )
    run, delays = Run(ChildProcess), []

    def take(message: ProgressMessage) -> None:
        delays.append(time.time() - float(message.message))

    run.process.start(["-c", program], take, run.ended.append)
    run.finish()
    assert len(delays) == 100
    p95 = statistics.quantiles(delays, n=20)[-1]
    record_property("progress_p95_ms", round(1000 * p95, 2))
    print(f"progress: median {1000 * statistics.median(delays):.2f} ms, 95th percentile {1000 * p95:.2f} ms")
    assert p95 < 0.05
