"""The published command line: every flag changes what it should, or is refused in one sentence; none is ignored."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import standin

from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.site.dataset import SiteInfo, write_site
from fedkdtavi_training import networks
from fedkdtavi_training.original import args, locations, plan

FLAGS = re.findall(
    r"\S+",
    "--task --locations --mode --num_rounds --epochs --batch_size --test_ratio --test_on_global_updates "
    "--test_on_gobal_updates --test_on_local_updates --exp_name --ckpt --condition_on_seg --output_seg --patches "
    "--model_type --finetune --local --tags --batch_maxnum -l -m -e -t",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three hospitals: two caches of crops, one site dataset whose note has a word to search by."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("north", "south"):
        standin.write_cache(folder / name, 2, "crop")
    shutil.copy(folder / "north" / "case_000000.npz", folder / "north" / "case_000009.npz")
    write_site(folder / "west", SiteInfo("west", synthetic=True, note="scanner: pilot"))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    networks.save(networks.build("teacher", {"channels": [4, 8, 8, 8]}), "teacher", path / "teacher.safetensors")
    networks.save(networks.build("student"), "student", path / "student.safetensors")
    return path


def experiment(data, *more):
    return plan.experiment_of(args.parse(["--data", str(data), *map(str, more)]))


def test_help_lists_every_flag_and_says_what_a_round_and_an_epoch_are():
    text = args.parser().format_help()
    assert not [flag for flag in FLAGS if flag not in text]
    assert "ROUND (--num_rounds) is federated" in text and "EPOCH (--epochs) is local" in text


def test_task_chooses_what_is_trained(data):
    distilled = experiment(data)
    assert distilled.task == 0 and distilled.student.model == "student" and distilled.teacher.model == "teacher"
    assert distilled.pseudo is not None
    for task in (1, 2, 3):
        alone = experiment(data, "-t", task)
        assert (alone.task, alone.student, alone.teacher.model, alone.pseudo) == (task, None, "teacher", None)


@pytest.mark.parametrize(
    ("flags", "of"),
    [
        (("--num_rounds", 7), lambda e: (e.teacher.rounds, e.student.rounds)),
        (("-e", 3), lambda e: (e.teacher.local_epochs, e.student.local_epochs)),
        (("--epochs", 3), lambda e: (e.teacher.local_epochs, e.student.local_epochs)),
        (("--batch_size", 5), lambda e: (e.teacher.batch, e.student.batch)),
        (("--batch_maxnum", 2), lambda e: (e.teacher.steps(100), e.student.steps(100))),
        (("--patches",), lambda e: (e.teacher.augment.jitter_far_share, e.student.augment.jitter_far_share)),
    ],
)
def test_both_stages_of_a_distillation_follow(data, flags, of):
    number = flags[1] if len(flags) == 2 else 1.0
    assert of(experiment(data, *flags)) == (number, number) != of(experiment(data))


def test_what_belongs_to_the_whole_experiment(data, weights):
    assert experiment(data, "--test_ratio", 0.4).test_ratio == 0.4
    assert experiment(data, "--exp_name", "mine").out.name == "mine"
    assert experiment(data, "--seed", 3).seed == 3
    assert experiment(data).arms == ("federated",) and experiment(data, "--local").arms == ("local",)
    given = weights / "student.safetensors"
    assert experiment(data, "--ckpt", given).init == given
    tuned = experiment(data, "-t", 1, "--ckpt", weights / "teacher.safetensors", "--finetune")
    assert (tuned.teacher, tuned.student.model) == (None, "teacher")
    assert tuned.student.network["channels"] == [4, 8, 8, 8]  # the network is that of the weights


def test_heart_flags_change_every_network_that_is_trained(data, weights):
    seen, drawn = experiment(data, "--condition_on_seg"), experiment(data, "--output_seg")
    assert [t.network["in_channels"] for t in (seen.teacher, seen.student)] == [2, 2]
    assert [t.network["heart"] for t in (drawn.teacher, drawn.student)] == [True, True]
    plain = experiment(data)
    assert plain.teacher.network == plain.student.network == {}
    with pytest.raises(UsageError, match="without a heart head"):
        experiment(data, "-t", 1, "--output_seg", "--ckpt", weights / "teacher.safetensors")


def test_model_type_chooses_the_network(data, weights):
    assert experiment(data, "-t", 1, "--model_type", "swin_unetr").teacher.model == "student"
    student = experiment(data, "--model_type", "nnunet")
    assert student.student.model == student.teacher.model == "teacher"
    other = experiment(data, "--model_type", "unetr")
    assert (other.student.model, other.student.network, other.teacher.model) == ("unetr", {"img_size": 64}, "teacher")
    with pytest.raises(UsageError, match="not the swin_unetr"):
        experiment(data, "-t", 1, "--model_type", "swin_unetr", "--ckpt", weights / "teacher.safetensors")


@pytest.mark.parametrize("given", [("south", "north"), ("south,north",), ("[south,", "north]")])
def test_locations_in_every_spelling(data, given):
    assert [site.name for site in experiment(data, "-l", *given).sites] == ["north", "south"]


def test_an_unknown_location_names_the_known_ones(data, tmp_path):
    with pytest.raises(UsageError, match=r"no location 'east' in .*; known are north, south, west"):
        experiment(data, "--locations", "north", "east")
    with pytest.raises(UsageError, match="holds no hospital"):
        experiment(tmp_path)


def test_tags_choose_hospitals(data):
    assert [site.name for site in experiment(data, "--tags", "hps", "calc").sites] == ["north", "south"]
    assert [site.name for site in experiment(data, "--tags", "pilot").sites] == ["west"]
    assert locations.tags_of(data / "west") == {"phantom", "scanner", "pilot"}
    with pytest.raises(UsageError, match="No location has all of the tags pilot, ms; they have north: "):
        experiment(data, "--tags", "pilot", "ms")


def test_tests_on_updates_in_both_spellings():
    for flag in ("--test_on_global_updates", "--test_on_gobal_updates"):
        assert args.parse([flag]).test_on_global_updates
    assert args.parse(["--test_on_local_updates"]).test_on_local_updates
    assert args.parse(["-m", "test"]).mode == "test"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--output_seg --condition_on_seg", "exclude each other"),
        ("--model_type resnet", "invalid choice"),
        ("--finetune", "give them with --ckpt"),
        ("--test_ratio 0 --test_on_local_updates", "no case is left to test on"),
        ("--test_ratio 1", "no case is left to learn from"),
        ("--test_ratio 1.5", "between 0 and 1"),
        ("--num_rounds 0", "must be 1 or more"),
        ("--local --test_on_global_updates", "no global updates"),
        ("-m test --local", "--local says how to train"),
        ("-m test --num_rounds 3", "--num_rounds says how to train"),
        ("-m test --epochs 3", "needs --test_on_local_updates"),
        ("-m test --batch_maxnum 3", "needs --test_on_local_updates"),
        ("-m test --patches", "needs --test_on_local_updates"),
        ("-m test --test_on_local_updates --test_ratio 1", "leaves no case"),
        ("-l north north", "twice"),
        ("--exp_name a/b", "no folder name"),
        ("--test_on_global", "unrecognized arguments"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(flags, words):
    with pytest.raises(UsageError, match=words) as refused:
        args.parse(flags.split())
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_is_missing_or_a_pickle(data, tmp_path):
    with pytest.raises(UsageError, match="is no file"):
        experiment(data, "--ckpt", tmp_path / "none.pt")
    (tmp_path / "ckpt.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UsageError, match="not a safetensors file"):
        experiment(data, "--ckpt", tmp_path / "ckpt.pt")


def test_a_base_stands_under_the_flags(data, tmp_path):
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"seed": 5, "teacher": {"local_steps": 9, "rounds": 4, "lr": 0.5}}))
    below = experiment(data, "-t", 1, "--base", base)
    assert (below.seed, below.teacher.local_steps, below.teacher.rounds, below.teacher.lr) == (5, 9, 4, 0.5)
    above = experiment(data, "-t", 1, "--base", base, "--epochs", 2, "--num_rounds", 1)
    assert (above.teacher.local_steps, above.teacher.local_epochs, above.teacher.rounds) == (0, 2, 1)
    base.write_text('{"techer": {}}')
    with pytest.raises(UsageError, match="techer"):
        experiment(data, "-t", 1, "--base", base)
