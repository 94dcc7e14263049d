"""The project file: who trains what, and one sentence for each way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import projects
import pytest

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.errors import UsageError
from fedkdtavi_training.federation import project

TWINS = [{"name": "site-1", "org": "one"}, {"name": "site-1", "org": "two"}, {"name": "site-3", "org": "three"}]


def test_a_project_says_who_trains_what(tmp_path):
    sites = projects.entries()["sites"]
    sites[0]["labels"], sites[1]["labels"] = ["hps"], ["hps", "calc"]
    plan = project.read(projects.write(tmp_path / "p.json", sites=sites, k=1))
    assert plan.jobs == (1, 2, 3, 0)
    assert plan.holders(1) == ["site-1", "site-2", "site-3"]
    assert plan.holders(2) == ["site-3"]
    assert plan.holders(3) == ["site-2", "site-3"]
    assert plan.holders(0) == ["site-1", "site-2", "site-3", "site-4"]


def test_a_real_federation_needs_three_sites_a_head():
    assert project.Project.model_validate(projects.entries()).k == 3


def test_the_experiment_of_a_job_has_its_sites_alone_and_the_students_has_the_teachers():
    last_look = {"model": "refiner", "network": {"channels": [4, 8, 8]}, "rounds": 1, "local_steps": 1}
    plan = project.Project.model_validate(projects.entries(deadline_s=90, seed=5, refiner=last_look))
    teachers = {"hps": Path("hps.safetensors")}
    one = plan.experiment(1, Path("out"), {"site-2": Path("two")}, teachers)
    assert [site.name for site in one.sites] == ["site-1", "site-2", "site-3"]
    assert one.sites[1].folder == Path("two")
    assert (one.task, one.aggregation.k, one.deadline_s, one.seed) == (1, 3, 90, 5)
    assert (one.teacher_weights, one.pseudo) == ({}, None)
    student = plan.experiment(0, Path("out"), {}, teachers)
    assert len(student.sites) == 4
    assert student.teacher_weights == teachers
    assert student.pseudo is not None
    assert (one.refiner, student.refiner.model) == (None, "refiner")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sites": [{"name": "a", "org": "a", "labels": ["aorta"]}]}, "there is no label 'aorta'"),
        ({"sites": TWINS}, "two sites have the name site-1"),
        ({"sites": [{"name": "a b", "org": "a"}]}, "sites.0.name"),
        ({"sites": [{"name": "localhost", "org": "a", "labels": ["hps"]}], "k": 1, "jobs": [1]}, "name of the server"),
        (
            {"sites": projects.entries()["sites"][1:]},
            "task 1 (hinge points and ostia) needs 3 sites, but 2 have labels",
        ),
        ({"k": 5, "jobs": [0]}, "task 0 (the student) needs 5 sites, but 4 have a part in it"),
        ({"jobs": [0, 1]}, "0 (the student) last"),
        ({"jobs": [1, 1]}, "each task once"),
        ({"jobs": [4]}, "jobs.0"),
        ({"aggregation": {"k": 2}}, "give k alone"),
        ({"teacher": None}, "task 1 (hinge points and ostia) trains a teacher; give `teacher`"),
        ({"teacher": None, "jobs": [0]}, "pseudo-labels need a teacher for hps"),
        ({"student": None}, "task 0 trains a student"),
        ({"server": {"host": "localhost", "port": 70000}}, "server.port"),
        ({"server": {"host": "local host"}}, "server.host"),
        ({"schedule": "weekly"}, "schedule"),
    ],
)
def test_what_is_wrong_in_a_project_is_one_sentence(tmp_path, changes: dict[str, Any], words: str):
    path = projects.write(tmp_path / "p.json", **changes)
    with pytest.raises(UsageError) as error:
        project.read(path)
    assert words in str(error.value)
    assert projects.is_sentence(str(error.value))


def test_a_site_that_takes_no_part_is_refused_with_the_names_of_those_that_do():
    plan = project.Project.model_validate(projects.entries())
    with pytest.raises(UsageError, match="site-9: is no site of phantoms; its sites are site-1, site-2"):
        plan.site("site-9")


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        ({"fedkdtavi": "9.9.9"}, ("9.9.9", fedkdtavi_core.__version__)),
        ({"schema_version": 99}, ("schema 99", f"here is {schema.SCHEMA_VERSION}")),
    ],
)
def test_a_project_of_another_version_is_refused_and_both_are_named(tmp_path, changes, both):
    path = projects.write(tmp_path / "p.json", **changes)
    with pytest.raises(UsageError) as error:
        project.read(path)
    assert all(name in str(error.value) for name in both)
    assert project.read(path, foreign=True).name == "phantoms"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"name": 3}', '{"name": "\xe4"}'])
def test_a_file_that_is_no_project_is_refused(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=r"p\.json"):
        project.read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read \(No such file"):
        project.read(tmp_path / "p.json")
