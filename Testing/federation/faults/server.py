"""Faults of the server: it dies, or its disk is full."""

from __future__ import annotations

from .ground import SITES, Ground, Result

_BAD = 2
_BACK_S = 240.0


def killed(ground: Ground) -> Result:
    """The server dies in round 2, when one update has come; it is started again, and the job with it."""
    with ground.trial("server killed and started again") as trial:
        trial.tell("a", "pause", _BAD)
        trial.start()
        with trial.running(fails=True):
            trial.reached()
            trial.wait(trial.update_of("b", _BAD).exists, "b has not answered")
            trial.loop.kill("server")
        named = trial.error
        before = dict(trial.loop.door()["came"])
        trial.go()
        ground.start("server")
        trial.loop.wait_until_open(_BACK_S)
        trial.wait(
            lambda: all(trial.loop.door()["came"].get(name, "") > before[name] for name in SITES),
            "the sites have not come back to the server by themselves",
        )
        trial.run()
        return trial.result("sites came back by themselves; `run` again went on in round 2 with b's update", named)


def disk_full(ground: Ground) -> Result:
    """No file can be written at the server from round 2 on; room is made, and the job is run again."""
    with ground.trial("disk full at the server") as trial:
        trial.tell("a", "pause", _BAD)
        trial.start()
        with trial.running(fails=True):
            trial.reached()
            trial.tell("server", "disk")
            trial.go()
        named = trial.said("No space left on device")
        trial.tell("server", "")
        trial.run()
        return trial.result("the job ended with a sentence; `run` again went on from its checkpoint", named)
