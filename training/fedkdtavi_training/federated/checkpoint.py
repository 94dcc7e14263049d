"""The server's state after a round: one safetensors file, replaced atomically; a run goes on from it after any end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import UsageError

from ..config import in_words
from . import files
from .messages import Weights


class OtherRunError(UsageError):
    """A checkpoint belongs to another run than the one that wants to go on.

    Attributes:
        path: of the checkpoint.
        what: of its identity differs.
    """

    def __init__(self, path: Path, what: str, keys: Sequence[str] = ()) -> None:
        super().__init__(f"{path} was written with other {what}{in_words(list(keys))}; give another output folder.")
        self.path, self.what = path, what


@dataclass
class Checkpoint:
    """Where a stage stands.

    Attributes:
        identity: of stage, first weights, sites and their data: what the run must be to go on from here.
        rounds: how many are done.
        weights: of the whole network.
        average: moving average of the floating weights over the rounds; empty without one.
        history: one row a site and round, for the log.
        frozen: sentences on what stayed as it was, by round.
    """

    identity: dict[str, Any]
    rounds: int
    weights: Weights
    average: Weights
    history: list[dict[str, Any]] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it. Raises TrainingError when the disk is full; the older one stays."""
        tensors = {f"model.{name}": value for name, value in self.weights.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        header = {"identity": self.identity, "rounds": self.rounds, "history": self.history, "frozen": self.frozen}
        files.write_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> Checkpoint:
        """Read it. Raises OtherRunError when it belongs to another run, naming what differs."""
        tensors, header = files.read_tensors(path)
        for key, value in identity.items():
            before = header["identity"].get(key)
            if isinstance(value, dict) and isinstance(before, dict):  # a site that could not be asked says nothing
                before, value = ({site: one[site] for site in before.keys() & value.keys()} for one in (before, value))
            if before != value:
                raise OtherRunError(path, key)
        model, average = (
            {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
            for prefix in ("model.", "average.")
        )
        return cls(identity, header["rounds"], model, average, header["history"], header["frozen"])
