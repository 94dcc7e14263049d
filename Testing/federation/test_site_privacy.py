"""The engine's privacy filters: off unless the site wants one, on what the site has changed, never on the weights."""

from __future__ import annotations

import importlib.util

import numpy as np
import projects
import pytest
from pydantic import ValidationError

from fedkdtavi_training.federation import settings, wire

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(importlib.util.find_spec("nvflare") is None, reason="needs the federated extra"),
]


@pytest.fixture
def trained() -> tuple[wire.Arrays, wire.Arrays]:
    """A task's weights, all of them large; and an update in which they have changed a little."""
    draw = np.random.default_rng(1)
    shapes = {"body.weight": (40, 50), "heads.hps.bias": (7,)}
    before = {name: draw.normal(5, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    after = {name: value + draw.normal(0, 0.02, value.shape).astype(np.float32) for name, value in before.items()}
    return {f"weights/{name}": value for name, value in before.items()}, after


def applied(task, update, **chosen):
    from nvflare.apis.fl_context import FLContext

    from fedkdtavi_training.federation.flare import privacy

    return privacy.applied(settings.Privacy.model_validate(chosen), task, update, FLContext())


def changes(task, update) -> np.ndarray:
    return np.concatenate([(value - task[f"weights/{name}"]).ravel() for name, value in update.items()])


def test_small_changes_stay_and_large_ones_are_cut(trained):
    task, update = trained
    given = {name: value.copy() for name, value in update.items()}
    left = changes(task, applied(task, update, filter="percentile", percentile=50, gamma=0.03))
    true = changes(task, given)
    assert np.abs(left).max() <= 0.03 + 1e-6 < np.abs(true).max()
    assert 0.45 < np.mean(left == 0) < 0.55
    kept = np.abs(left) > 0
    assert np.allclose(left[kept], np.clip(true[kept], -0.03, 0.03), atol=1e-6)
    assert all(np.array_equal(update[name], given[name]) for name in update)  # what the site keeps is untouched


def test_sparse_vector_sends_a_noisy_part_of_the_changes(trained):
    task, update = trained
    left = changes(task, applied(task, update, filter="svt", fraction=0.2, gamma=0.01, epsilon=1.0, noise_var=1.0))
    assert 0.7 < np.mean(left == 0) < 0.9
    sent = left != 0
    assert not np.allclose(left[sent], np.clip(changes(task, update)[sent], -0.01, 0.01), atol=1e-4)


def test_shapes_types_and_names_stay(trained):
    task, update = trained
    left = applied(task, update, filter="svt")
    assert {name: (v.shape, v.dtype) for name, v in left.items()} == {n: (v.shape, v.dtype) for n, v in update.items()}


def test_an_answer_without_weights_passes(trained):
    assert applied(trained[0], {}, filter="percentile") == {}


def test_an_update_of_other_weights_is_not_sent(trained):
    task, update = trained
    with pytest.raises(wire.WireError, match="other weights"):
        applied(task, update | {"body.weight": np.zeros((2, 2), np.float32)}, filter="percentile")


def test_it_is_off_unless_the_site_wants_it(tmp_path):
    own = {"name": "a", "schema_version": 1, "folders": [tmp_path], "work": tmp_path}
    assert settings.SiteSettings.model_validate(own).privacy is None
    for wrong in ({"filter": "none"}, {"filter": "svt", "epsilon": 0}, {"filter": "percentile", "percentile": 101}):
        with pytest.raises(ValidationError):
            settings.SiteSettings.model_validate(own | {"privacy": wrong})


@pytest.mark.parametrize("chosen", [None, {"filter": "percentile", "percentile": 100, "gamma": 1.0}])
def test_the_executor_filters_what_leaves_when_the_site_wants_it(trained, tmp_path, chosen):
    import json
    from types import SimpleNamespace

    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.signal import Signal

    from fedkdtavi_training.federation.flare import message
    from fedkdtavi_training.federation.flare.executor import FedKDTAVIExecutor

    task, update = trained
    executor = FedKDTAVIExecutor()
    own = {"name": "a", "schema_version": 1, "folders": [tmp_path], "work": tmp_path, "privacy": chosen}
    executor._settings = settings.SiteSettings.model_validate(own)
    executor._worker = SimpleNamespace(work=lambda *asked: ("{}", update))
    asked = message.pack(json.dumps({"stage": {"deadline_s": None}}), task)
    header, sent = message.unpack(executor.execute(message.TASK, asked, FLContext(), Signal()))
    assert header == "{}"
    left = np.mean(changes(task, sent) != 0)
    assert left > 0.9 if chosen is None else left < 0.01  # the largest alone


def test_a_site_writes_it_into_its_own_file(tmp_path, monkeypatch):
    from fedkdtavi_core.errors import UsageError
    from fedkdtavi_training.federation import kits, project, site_command

    monkeypatch.setattr(kits, "local_of_site", lambda folder, own: None)
    plan = project.Project.model_validate(projects.entries())
    own = {"name": "a", "datasets": [str(tmp_path)], "threads": 1}
    assert site_command._write_local(tmp_path, own, plan).privacy is None
    wanted = own | {"privacy": {"filter": "percentile", "percentile": 50}}
    assert site_command._write_local(tmp_path, wanted, plan).privacy.percentile == 50
    with pytest.raises(UsageError, match=r"federation\.json: privacy\.filter: .*; correct it"):
        site_command._write_local(tmp_path, own | {"privacy": {"filter": "noise"}}, plan)
