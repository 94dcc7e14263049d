"""What a site shows its network: true labels in every batch, pseudo-labelled cases between them."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from ..config import TrainConfig
from ..data import CropDataset, shuffled
from .config import Pseudo
from .labels import merge
from .site import Cases


class SiteSamples(Dataset):
    """Samples of one site over all rounds: index n -> dict of arrays, as :class:`~..data.CropDataset` makes them.

    With pseudo-labels, ``labelled_share`` of the samples show a case with a true label, evenly spread; the others go
    through the rest. Each of the two goes through its cases in a new order every time.
    """

    def __init__(self, cases: Cases, config: TrainConfig, pseudo: Pseudo | None) -> None:
        self.cases, self.pseudo, self.seed = cases, pseudo, config.seed
        self.crops = CropDataset(list(cases.paths.values()), config)
        self.labelled = list(cases.labelled)
        known = set(self.labelled)
        self.others = [key for key in cases.paths if key not in known]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        key = self.key(n)
        guess = None if self.cases.store is None else self.cases.store.load(key)
        return self.crops.of(n, self.cases.paths[key], lambda case: merge(case, guess, self.pseudo).labels)

    def key(self, n: int) -> str:
        """Which case sample ``n`` shows."""
        if not self.labelled or not self.others:
            keys = self.labelled or self.others
            return keys[shuffled(self.seed, n, len(keys))]
        share = self.pseudo.labelled_share if self.pseudo is not None else 0.5
        before, after = int(np.floor(n * share)), int(np.floor((n + 1) * share))
        if after > before:
            return self.labelled[shuffled(self.seed, before, len(self.labelled))]
        return self.others[shuffled(self.seed + 1, n - before, len(self.others))]
