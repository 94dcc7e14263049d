"""The project file: who takes part in a federation and with which labels, where its server is, what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.errors import UsageError

from ..config import _Strict, read_as, refused
from ..federated.config import HEADS, TASK_HEADS, Aggregation, Experiment, Pseudo, Training

# Names become certificates and folders; the engine's own limits are these or wider.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=60)]
Organisation = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=60)]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
TASKS = {0: "the student", 1: "hinge points and ostia", 2: "membranous septum", 3: "calcification"}


class Server(_Strict):
    """The one address that the sites connect to; nothing connects to a site."""

    host: Host
    port: int = Field(8002, ge=1, le=65535)


class ProjectSite(_Strict):
    """One hospital: its name in logs and weights' provenance, and the labels that it says it holds."""

    name: Name
    org: Organisation
    labels: tuple[str, ...] = ()

    @field_validator("labels")
    @classmethod
    def _known(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if label not in HEADS:
                raise ValueError(f"there is no label {label!r}; the labels are {', '.join(HEADS)}")
        return labels


class Project(_Strict):
    """One federation. ``jobs`` are run in their order; 0 last, as the student learns from the teachers of the others.

    Attributes:
        k: sites a head needs in a round, or it stays as it is; a job with fewer labelled sites is refused.
        deadline_s: a site that has not answered a round by then is left out of it.
        fedkdtavi, schema_version: what server and sites must have installed.
    """

    name: Name
    server: Server
    coordinator: Name = "coordinator"
    org: Organisation = "coordination"
    sites: tuple[ProjectSite, ...] = Field(min_length=1)
    k: int = Field(3, ge=1)
    held_out: float = Field(0.0, ge=0, lt=1, description="share of every site's cases that nothing learns from")
    deadline_s: float = Field(3600.0, gt=0)
    jobs: tuple[Literal[0, 1, 2, 3], ...] = Field((1, 2, 3, 0), min_length=1)
    seed: int = Field(0, ge=0)
    aggregation: Aggregation = Aggregation()
    teacher: Training | None = None
    teachers: dict[str, Training] = Field(default_factory=dict)
    teacher_weights: dict[str, Path] = Field(
        default_factory=dict,
        description="head (or refiner) -> safetensors on the server of who labels it, not a job's teacher",
    )
    teacher_init: dict[str, Path] = Field(
        default_factory=dict, description="head -> safetensors on the server that its teacher starts from"
    )
    student: Training | None = None
    pseudo: Pseudo | None = None
    init: Path | None = Field(None, description="safetensors on the server that the student starts from")
    refiner: Training | None = Field(None, description="of the network for the last look, in the student's job")
    refiner_init: Path | None = Field(None, description="safetensors on the server that the refiner starts from")
    fedkdtavi: str = fedkdtavi_core.__version__
    schema_version: int = schema.SCHEMA_VERSION

    @model_validator(mode="after")
    def _makes_sense(self) -> Project:
        names = [site.name for site in self.sites]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sites have the name {name}; give each its own")
        if self.server.host in names or self.coordinator in names:
            raise ValueError("a site has the name of the server or of the coordinator; give it another")
        if len(set(self.jobs)) != len(self.jobs) or (0 in self.jobs and self.jobs[-1] != 0):
            raise ValueError("jobs must name each task once, with 0 (the student) last")
        if self.aggregation.k not in (1, self.k):
            raise ValueError(f"aggregation.k is {self.aggregation.k}, but k is {self.k}; give k alone")
        for task in self.jobs:
            if task and self.teachers.get(HEADS[task - 1], self.teacher) is None:
                raise ValueError(f"task {task} ({TASKS[task]}) trains a teacher; give `teacher`")
            holders = self.holders(task)
            if len(holders) < self.k:
                what = f"labels for it ({', '.join(TASK_HEADS[task])})" if task else "a part in it"
                named = f": {', '.join(holders)}" if holders else ""
                raise ValueError(
                    f"task {task} ({TASKS[task]}) needs {self.k} sites, but {len(holders)} have {what}{named}; "
                    "leave the task out, or find more sites"
                )
        return self

    def holders(self, task: int) -> list[str]:
        """The sites that teach a task: those with its labels; all, for the student."""
        return [site.name for site in self.sites if task == 0 or TASK_HEADS[task][0] in site.labels]

    def site(self, name: str) -> ProjectSite:
        """The site of that name. Raises UsageError when it takes no part."""
        for site in self.sites:
            if site.name == name:
                return site
        known = ", ".join(site.name for site in self.sites)
        raise UsageError(f"{name}: is no site of {self.name}; its sites are {known}.")

    def experiment(self, task: int, out: Path, folders: dict[str, Path], teachers: dict[str, Path]) -> Experiment:
        """The experiment of one job.

        Args:
            folders: site -> what it learns from, where that is known here; sites elsewhere take their own.
            teachers: head -> weights of the teacher that an earlier job has trained.

        Raises:
            UsageError: the training of the task is not described in the project.
        """
        entries: dict[str, Any] = {
            "task": task,
            "sites": [{"name": name, "folder": folders.get(name, Path(name))} for name in self.holders(task)],
            "out": out,
            "seed": self.seed,
            "aggregation": self.aggregation.model_copy(update={"k": self.k}),
            "deadline_s": self.deadline_s,
            "held_out": self.held_out,
            "teacher": self.teacher,
            "teachers": self.teachers,
            "teacher_init": self.teacher_init,
            "student": self.student,
        }
        if task == 0:
            entries |= {"pseudo": self.pseudo, "teacher_weights": teachers | self.teacher_weights, "init": self.init}
            entries |= {"refiner": self.refiner, "refiner_init": self.refiner_init}
        try:
            return Experiment.model_validate(entries)
        except ValidationError as error:
            raise refused(Path(f"{self.name}, task {task}"), error) from error


def read(path: Path, *, foreign: bool = False) -> Project:
    """Read and check a project file.

    Args:
        foreign: let pass a file of another version of this program.

    Raises:
        UsageError: one sentence that names the file and what is wrong in it.
    """
    project = read_as(Project, path, "project file")
    for task in project.jobs:
        project.experiment(task, Path(), {}, {HEADS[one - 1]: Path() for one in project.jobs if one})
    if not foreign:
        mismatch = differs(project, fedkdtavi_core.__version__, schema.SCHEMA_VERSION)
        if mismatch:
            raise UsageError(f"{path}: {mismatch}")
    return project


def differs(project: Project, version: str, schema_version: int) -> str | None:
    """Why who has these versions cannot take part, naming both; None when they can."""
    if version != project.fedkdtavi:
        return f"the project runs fedkdtavi {project.fedkdtavi}, here is {version}; install that version."
    if schema_version != project.schema_version:
        return f"the project has label schema {project.schema_version}, here is {schema_version}; update fedkdtavi."
    return None
