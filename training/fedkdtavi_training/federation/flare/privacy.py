"""FLARE's own privacy filters on what a site sends: chosen by the site in its own settings, off unless it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_common.filters.svt_privacy import SVTPrivacy

from ..settings import Privacy
from ..wire import Arrays, WireError

_PART = "weights/"  # of the names in a task


def applied(chosen: Privacy, task: Arrays, update: Arrays, fl_ctx: FLContext) -> Arrays:
    """The update as it may leave: what the site has changed is filtered, the weights it was sent are public to it.

    Both filters draw or cut over all tensors at once; SVT draws new noise each time, so that a round done again is no
    longer the same round.

    Args:
        task: the arrays of the task, with the weights that the site started from.
        update: the arrays that it has trained; none in a task that only counts.

    Raises:
        WireError: the update is of other weights than the task; nothing may be sent.
    """
    if not update:
        return update
    if any(_PART + name not in task or task[_PART + name].shape != value.shape for name, value in update.items()):
        raise WireError("An update is of other weights than the task was.")
    change = {name: value.astype(np.float32) - task[_PART + name] for name, value in update.items()}
    filtered: Any = _filter(chosen).process_dxo(DXO(DataKind.WEIGHT_DIFF, change), Shareable(), fl_ctx)
    if filtered is None:
        raise WireError("The privacy filter has refused the update.")
    return {
        name: (task[_PART + name] + filtered.data[name].reshape(value.shape)).astype(value.dtype)
        for name, value in update.items()
    }


def _filter(chosen: Privacy) -> DXOFilter:
    if chosen.filter == "percentile":
        return PercentilePrivacy(percentile=chosen.percentile, gamma=chosen.gamma)
    return SVTPrivacy(
        fraction=chosen.fraction,
        epsilon=chosen.epsilon,
        noise_var=chosen.noise_var,
        gamma=chosen.gamma,
        tau=chosen.tau,
        replace=False,
    )
