"""One federation's way: who has which labels, teachers, their pseudo-labels, the student. Any driver, any sites.

Local training is a federation of one hospital, pooled training one of a single site that holds all cases.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fedkdtavi_core.errors import UsageError

from .. import given, networks, train
from ..disk import writing
from . import provenance, refusals, starts, workflow
from .asking import answers
from .config import HEADS, REFINER, TASK_HEADS, Experiment, Stage, Training
from .heads import floating, unchanged
from .messages import Driver, SiteFailedError, Task, Teacher, Update, Weights
from .pace import Pace


class Federation:
    """The stages of one experiment over the sites of ``driver``; every stage goes on where it was cut off.

    Args:
        out: the server's folder.
        repeat: factor of the local steps: a pooled site works as many steps a round as the sites it stands for.
        watch: told of every round.
    """

    def __init__(
        self,
        experiment: Experiment,
        driver: Driver,
        out: Path,
        *,
        pace: Pace,
        say: Callable[[str], None],
        repeat: Callable[[tuple[str, ...]], int] = lambda heads: 1,
        watch: workflow.Watch = lambda stage, number, rows, frozen: None,
    ) -> None:
        self.experiment, self.driver, self.out = experiment, driver, out
        self.pace, self.say, self.repeat, self.watch = pace, say, repeat, watch
        self.aggregation = experiment.aggregation
        if len(driver.sites) == 1:
            self.aggregation = self.aggregation.model_copy(update={"k": 1})
        self.inputs: dict[str, str] = {}
        self.labels: dict[str, dict[str, float]] = {}
        self.skipped: dict[str, int] = {}  # site -> cases that could not be read
        self.untaught: tuple[str, ...] = ()  # heads of the network in hand that nobody has taught yet

    def distill(self) -> dict[str, Any]:
        """Teachers, pseudo-labels, student, refiner; or, for task 1 to 3, that teacher alone."""
        experiment = self.experiment
        self._count(experiment.student or experiment.teacher_of(HEADS[experiment.task - 1]))
        if experiment.task:
            head = HEADS[experiment.task - 1]
            return {"teachers": {head: self._teacher(head)[1]}}
        if experiment.pseudo is None:
            network, start = self._start(experiment.student, experiment.init)
            stage = self._stage("student", HEADS, experiment.student)
            return {"student": self._train(stage, network, start)[1], **self._refiner()}
        made = {head: self._teacher(head) for head in HEADS if self._any(head)}
        if not made:
            raise UsageError("No head has labels at enough sites: there is nothing to distil; add labels.")
        if REFINER in experiment.teacher_weights:
            made[REFINER] = self._teacher(REFINER)
        summary = {"teachers": {head: link for head, (_, link) in made.items()}, "pseudo_labels": [], "student": None}
        teachers = {head: teacher for head, (teacher, _) in made.items()}
        network, start = self._start(experiment.student, experiment.init)
        for number in range(1, experiment.pseudo.sets + 1):
            pseudo = self._label(number, teachers)
            summary["pseudo_labels"].append(pseudo)
            name = "student" if experiment.pseudo.sets == 1 else f"student-{number}"
            made_by = {head: teacher.digest for head, teacher in teachers.items()}
            stage = self._stage(name, HEADS, experiment.student, pseudo_set=number, pseudo_teachers=made_by)
            weights, summary["student"] = self._train(
                stage, network, start, pseudo_labels=pseudo, inputs=pseudo["sites"]
            )
            look = stage.training.closer_look_mm
            teacher = Teacher(stage.training.model, network.arguments, floating(weights), train.digest(weights), look)
            teachers, start = teachers | dict.fromkeys(HEADS, teacher), weights
        return summary | self._refiner(pseudo, pseudo_set=number, pseudo_teachers=made_by)

    def _refiner(self, pseudo: dict[str, Any] | None = None, **learned_from: Any) -> dict[str, Any]:
        """The refiner's link, from the labels that the student has learned from; nothing if it is not asked for."""
        training = self.experiment.refiner
        if training is None:
            return {}
        network, start = self._start(training, self.experiment.refiner_init)
        stage = self._stage("refiner", networks.LANDMARK_HEADS, training, **learned_from)
        further = {} if pseudo is None else {"pseudo_labels": pseudo, "inputs": pseudo["sites"]}
        return {"refiner": self._train(stage, network, start, **further)[1]}

    def finetune(self) -> dict[str, Any]:
        """The heads of ``init`` on the sites' true labels, the backbone frozen; or a new one for coronary arteries.

        The latter where ``student.network`` says ``"coronary": true``: its last layer alone is trained.
        """
        experiment = self.experiment
        starts.check(experiment, finetune=True)
        self._count(experiment.student)
        network, start = self._start(experiment.student, experiment.init)
        if experiment.student.network.get("coronary"):  # a new last layer; all that was there before stays as it is
            name, heads = "coronary", ("coronary",)
        else:
            name, heads = "finetuned", tuple(head for head in TASK_HEADS[experiment.task] if self._any(head))
        stage = self._stage(name, heads, experiment.student, heads_only=True)
        return {"student": self._train(stage, network, start)[1]}

    def _teacher(self, head: str) -> tuple[Teacher, dict[str, Any]]:
        trained = self.experiment.teacher_weights.get(head)
        if trained is not None:
            network, task, metadata = given.read(trained)
            weights = network.state_dict()
            link = {"digest": train.digest(weights), "trained_before": metadata}
            look = metadata.get("crop_spacing_mm" if task in ("calcium", "refiner") else "closer_look_mm")
            crop = metadata.get("crop_size") if task == "refiner" else None
            return Teacher(task, network.arguments, floating(weights), link["digest"], look, crop), link
        training = self.experiment.teacher_of(head)
        stage = self._stage(f"teacher-{head}", (head,), training)
        first = self.experiment.teacher_init.get(head, self.experiment.init if self.experiment.task else None)
        network, start = self._start(training, first)
        weights, link = self._train(stage, network, start)
        look = training.finest_mm if training.model == "calcium" else training.closer_look_mm
        return Teacher(training.model, network.arguments, floating(weights), link["digest"], look), link

    def _stage(self, name: str, heads: tuple[str, ...], training: Training, **changes: Any) -> Stage:
        experiment = self.experiment
        steps = training.local_steps * self.repeat(heads if "pseudo_set" not in changes else ())
        return experiment.stage(
            name,
            heads,
            training.model_copy(update={"local_steps": steps}),
            aggregation=self.aggregation,
            pseudo=experiment.pseudo if "pseudo_set" in changes else None,
            **changes,
        )

    def _start(self, training: Training, init: Path | None) -> tuple[torch.nn.Module, Weights]:
        network, self.untaught = starts.start(training, init, self.experiment.seed)
        return network, {name: value.detach().clone() for name, value in network.state_dict().items()}

    def _train(
        self,
        stage: Stage,
        network: torch.nn.Module,
        start: Weights,
        inputs: dict[str, str] | None = None,
        **parents: Any,
    ) -> tuple[Weights, dict[str, Any]]:
        folder = self.out / stage.name
        sites = tuple(self.driver.sites)
        self.pace.begin(f"{self.out.name} {stage.name}", stage.training.rounds, sites, workflow.rounds_done(folder))
        result = workflow.run(
            stage, self.driver, start, folder, inputs=inputs or self.inputs, say=self.say, watch=self.watch
        )
        link = provenance.of_stage(stage, result, **parents)
        network.load_state_dict(result.weights)
        # Told by the file alone: the chain of digests knows who has taught what.
        self.untaught = tuple(unchanged(self.untaught, start, result.weights))
        told = link | ({"untaught": list(self.untaught)} if self.untaught else {})
        path = self.out / f"{stage.name}.safetensors"
        with writing(path):
            networks.save(network, stage.training.model, path, told)
        self.say(f"{stage.name}: done, digest {link['digest'][:16]}")
        return result.weights, link

    def _count(self, training: Training) -> None:
        stage = self._stage("count", HEADS, training)
        for site, update in answers(self.driver, Task("count", stage)).items():
            if isinstance(update, SiteFailedError):
                self.say(f"{site}: {update.reason}")
                continue
            self.labels[site], self.inputs[site] = update.head_weights, update.digest
            held = ", ".join(f"{head} {count:g}" for head, count in update.head_weights.items()) or "no labels"
            metrics = self._sound(site, update)
            self.skipped[site] = int(metrics.get("unreadable", 0))
            unreadable = f", {self.skipped[site]} unreadable ones skipped" if self.skipped[site] else ""
            cases = f"{metrics['cases']:.0f} cases" if "cases" in metrics else "an unknown number of cases"
            self.say(f"{site}: {held}; {cases}{unreadable}")
        if not self.labels:
            raise UsageError("No site could be read; see the sentences above.")

    def _sound(self, site: str, update: Update) -> dict[str, float]:
        """What a site tells beside weights, where that can be counted with."""
        kept, unsound = refusals.sound(update.metrics)
        if unsound:
            self.say(f"{site}: {unsound}")
        return kept

    def _any(self, head: str) -> bool:
        """Do enough sites have labels for ``head``, or is its teacher given?"""
        holders = [site for site, counts in self.labels.items() if counts.get(head, 0) > 0]
        enough = len(holders) >= self.aggregation.k
        known = head in self.experiment.teacher_weights
        if not enough and not known:
            self.say(f"{head}: {len(holders)} sites have labels, {self.aggregation.k} are needed; it is not learned")
        return enough or known

    def _label(self, number: int, teachers: dict[str, Teacher]) -> dict[str, Any]:
        stage = self._stage(f"pseudo-{number}", HEADS, self.experiment.student, pseudo_set=number)
        self.pace.begin(f"{self.out.name} {stage.name}", 1, tuple(self.driver.sites))
        sites, certainty = {}, {}
        for site, update in answers(self.driver, Task("label", stage, number, teachers=teachers)).items():
            if isinstance(update, SiteFailedError):
                self.say(f"{stage.name}: {site} is left out: {update.reason}")
                continue
            sites[site] = update.digest
            told = self._sound(site, update)
            certainty[site] = {key[10:]: round(value, 4) for key, value in told.items() if key.startswith("certainty_")}
        by = {head: teacher.digest for head, teacher in teachers.items()}
        return {"set": number, "teachers": by, "sites": sites, "certainty": certainty}
