"""Faults of a site: it dies, or sends what must not be averaged."""

from __future__ import annotations

from .ground import Ground, Result

_BAD = 2  # the round in which b goes wrong


def killed_in_a_round(ground: Ground) -> Result:
    """b's machine dies while it trains, and stays away."""
    with ground.trial("site killed in a round") as trial:
        trial.tell("b", "pause", _BAD)
        trial.start()
        with trial.running():
            trial.reached()
            trial.kill("b")
        named = trial.left_out()
        assert set(named) == {2, 3} and "b: failed" in named[2], named
        return trial.result("went on with a; ended with a model", named[2], without=(2, 3))


def killed_in_a_round_and_back(ground: Ground) -> Result:
    """b's machine dies while it trains, and is started again at once."""
    with ground.trial("site killed in a round and started again") as trial:
        trial.tell("b", "pause", _BAD)
        trial.start()
        with trial.running():
            trial.reached()
            trial.kill("b")
            trial.again("b")
        named = trial.said("b has come")
        return trial.result("job submitted again by `run` when b was back; went on in round 2 with b", named)


def killed_between_rounds(ground: Ground) -> Result:
    """b has answered round 2, and dies before round 3 begins; it is started again."""
    with ground.trial("site killed between rounds") as trial:
        trial.tell("a", "pause", _BAD)
        trial.start()
        with trial.running():
            trial.reached()
            trial.wait(trial.update_of("b", _BAD).exists, "b has not answered")
            before = trial.registered("b")
            trial.kill("b")
            trial.again("b")
            trial.wait(lambda: trial.registered("b") > before, "b is not back")
            trial.go()
        named = trial.said("b has come")
        return trial.result("b's update was kept; job submitted again by `run`; went on in round 3 with b", named)


def nan(ground: Ground) -> Result:
    """One number of b's update is not finite."""
    return _bad_update(ground, "an update with NaN", "nan", "is not finite")


def shapes(ground: Ground) -> Result:
    """One tensor of b's update is cut short."""
    return _bad_update(ground, "wrong shapes", "shape", "float32, not")


def norm(ground: Ground) -> Result:
    """b's weights are a million times too large."""
    return _bad_update(ground, "absurd norm", "norm", "times their norm")


def stale(ground: Ground) -> Result:
    """b sends what it has sent a round before."""
    return _bad_update(ground, "last round's update sent again", "stale", "it answers round 1, not 2")


def _bad_update(ground: Ground, fault: str, what: str, reason: str) -> Result:
    with ground.trial(fault) as trial:
        trial.tell("b", what, _BAD)
        trial.start()
        trial.run()
        named = trial.left_out()
        assert set(named) == {_BAD}, f"b should be left out of round {_BAD} alone: {named}"
        assert named[_BAD].startswith("b: refused") and reason in named[_BAD], named
        return trial.result("refused in round 2, averaged again in round 3", named[_BAD], without=(_BAD,))
