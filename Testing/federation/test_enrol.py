"""Enrolment with the engine's own tools: keys stay where they are made, and only the project's sites are let in."""

from __future__ import annotations

import importlib.util
import json
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hospitals
import projects
import pytest

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import BundleError, InputError, UsageError
from fedkdtavi_core.labels.record import CaseRecord, LabelRecord, write_record
from fedkdtavi_core.site.dataset import SiteInfo, write_site
from fedkdtavi_training.federation import engine, enrol, kits, server_command, settings, site_command, status

pytestmark = pytest.mark.skipif(importlib.util.find_spec("nvflare") is None, reason="needs the federated extra")


@dataclass
class Enrolled:
    """A server and one site that has joined; what was said on the way."""

    plan: Path
    server: Path
    site: Path
    data: Path
    said: list[str]

    @property
    def fingerprint(self) -> str:
        return enrol.fingerprint(self.server)


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory) -> Iterator[Enrolled]:
    folder, said = tmp_path_factory.mktemp("federation"), []
    plan = projects.write(folder / "project.json")
    data = hospitals.write(folder / "data", {"a": ("hps ms calc",)})["a"]
    one = Enrolled(plan, folder / "server", folder / "site-1", data, said)
    server_command.init(plan, one.server, said.append)
    site_command.request(plan, "site-1", [data], one.site, say=said.append)
    sent = shutil.copy(one.site / "key" / "site-1.request.zip", folder)
    number = next(line for line in said if "read its number" in line).partition(": ")[2]  # heard on the phone
    server_command.approve(one.server, Path(sent), 900, False, said.append, number=number.upper().replace(" ", ""))
    back = shutil.copy(one.server / "approved" / "site-1.signed.zip", folder)
    site_command.join(one.site, Path(back), one.fingerprint, said.append)
    yield one


def test_a_key_never_leaves_the_site(enrolled):
    key = (enrolled.site / "key" / "site-1.key").read_bytes()
    assert b"PRIVATE KEY" in key
    assert stat.S_IMODE((enrolled.site / "key" / "site-1.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((enrolled.site / "kit" / "startup" / "client.key").stat().st_mode) == 0o600
    body = key.split(b"\n")[1]
    for path in (path for path in enrolled.server.rglob("*") if path.is_file()):
        assert body not in path.read_bytes()
    for sent in (enrolled.site / "key" / "site-1.request.zip", enrolled.server / "approved" / "site-1.signed.zip"):
        with zipfile.ZipFile(sent) as archive:
            assert all(b"PRIVATE KEY" not in archive.read(name) for name in archive.namelist())
            assert all(str(enrolled.site).encode() not in archive.read(name) for name in archive.namelist())


def test_both_sides_see_the_same_number_of_the_request_to_compare_on_the_phone(enrolled):
    number = enrol.number(enrolled.site / "key" / "site-1.request.zip")
    assert len(number.replace(" ", "")) == 20
    assert sum(number in said for said in enrolled.said) >= 2


def test_a_site_runs_our_executor_alone_and_sends_no_logs(enrolled):
    local = enrolled.site / "kit" / "local"
    resources = json.loads((local / "resources.json").read_text())
    assert resources["class_allow_list"] == ["fedkdtavi_training.federation.flare.executor"]
    assert resources["class_list_enforcement_mode"] == "enforce"
    assert resources["allow_log_streaming"] is False
    assert "site_log_streamer" not in [one["id"] for one in resources["components"]]
    default = json.loads((local / "resources.json.default").read_text())
    assert "site_log_streamer" in [one["id"] for one in default["components"]]  # or the line above says nothing
    for name, rights in json.loads((local / "authorization.json").read_text())["permissions"].items():
        assert (name, rights["byoc"], rights["shell_commands"]) == (name, "none", "none")
        assert rights.get("operate", "none") == "none"


def test_a_sites_own_settings_are_its_own(enrolled):
    own = settings.read(settings.SiteSettings, enrolled.site / "kit" / "local", "site-1")
    assert own.folders == (enrolled.data,)
    assert own.work == enrolled.site / "work"
    assert own.deadline_s == 3600


def test_a_server_keeps_everything_in_its_folder(enrolled):
    local = enrolled.server / "kit" / "local"
    text = (local / "resources.json").read_text()
    assert "/tmp/nvflare" not in text
    resources = json.loads(text)
    assert resources["servers"][0]["heart_beat_timeout"] == 30
    assert resources["class_allow_list"] == ["fedkdtavi_training.federation.flare.controller"]
    assert "log_receiver" not in [one["id"] for one in resources["components"]]
    assert settings.read(settings.ServerSettings, local, "server").out == enrolled.server / "out"
    assert f"fingerprint {enrolled.fingerprint}" in "\n".join(enrolled.said)


def test_the_status_of_server_and_site_tells_the_certificates_days(enrolled):
    server = status.gather(enrolled.server)
    assert (server["project"], server["server"], server["k"], server["running"]) == (
        "phantoms",
        "localhost:18431",
        3,
        False,
    )
    assert {site["name"]: site["certificate_days"] for site in server["sites"]} == {
        "site-1": 899, "site-2": None, "site-3": None, "site-4": None,
    }  # fmt: skip
    site = status.gather(enrolled.site)
    assert (site["site"], site["joined"], site["running"], site["warnings"]) == ("site-1", True, False, [])
    assert "certificate: 899 days left" in status.text(site)
    assert "site-1" in status.text(server)


def test_a_certificate_near_its_end_is_told_and_a_new_one_replaces_it(enrolled, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(enrolled.site, site)
    (site / "work").mkdir()
    (site / "work" / "kept").touch()
    own = json.loads((site / "federation.json").read_text())
    protected = own | {"least_cases": 8, "privacy": {"filter": "percentile"}, "threads": 3}
    (site / "federation.json").write_text(json.dumps(protected))
    site_command.request(enrolled.plan, "site-1", [enrolled.data], site, again=True, say=enrolled.said.append)
    kept = json.loads((site / "federation.json").read_text())  # a new certificate does not switch protection off
    assert kept == protected | {"threads": 1, "datasets": kept["datasets"]}
    request = site / "key" / "site-1.request.zip"
    with pytest.raises(UsageError, match="site-1 is approved already; with --again"):
        server_command.approve(enrolled.server, request, 10, False, print)
    approval = enrolled.server / "approved" / "site-1.signed.zip"
    before = approval.read_bytes()
    with pytest.raises(UsageError) as error:  # the approval of the old key
        site_command.join(site, approval, enrolled.fingerprint, print)
    assert projects.is_sentence(str(error.value))
    server_command.approve(enrolled.server, request, 10, True, print, number=enrol.number(request))
    site_command.join(site, approval, enrolled.fingerprint, print)
    assert "ends in 9 days" in status.text(status.gather(site))
    assert "ends in 9 days" in status.text(status.gather(enrolled.server))
    assert (site / "work" / "kept").exists()
    approval.write_bytes(before)


def test_a_protection_that_is_misspelt_is_refused_and_not_left_out(enrolled, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(enrolled.site, site)
    own = json.loads((site / "federation.json").read_text())
    (site / "federation.json").write_text(json.dumps(own | {"least_case": 8}))
    with pytest.raises(UsageError, match=r"federation\.json: 'least_case' is not known; known are .*least_cases"):
        site_command.start(site, None, print)


def test_a_ct_in_two_datasets_of_one_site_is_refused(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        write_site(folder, SiteInfo(folder.name, synthetic=True))
        (folder / "cases" / folder.name).mkdir(parents=True)
        write_record(folder / "cases" / folder.name / "labels.json", CaseRecord("ab" * 32, {}))
    with pytest.raises(InputError, match="has a CT in common with"):
        site_command._refuse_common_cts(folders)
    site_command._refuse_common_cts(folders[:1])


def test_an_approval_of_another_authority_is_refused(enrolled, tmp_path):
    wrong = "SHA256:" + ":".join(["00"] * 32)
    site = tmp_path / "site"
    shutil.copytree(enrolled.site, site)
    with pytest.raises(UsageError, match="fingerprint"):
        site_command.join(site, enrolled.server / "approved" / "site-1.signed.zip", wrong, print)


def test_what_is_in_an_approval_counts_and_not_its_name(enrolled, tmp_path):
    with zipfile.ZipFile(tmp_path / "site-1.signed.zip", "w") as archive:
        archive.writestr("signed.json", json.dumps({"name": "site-2"}))
    with pytest.raises(UsageError, match="is the approval of site-2; give that of site-1"):
        site_command.join(enrolled.site, tmp_path / "site-1.signed.zip", enrolled.fingerprint, print)
    site, renamed = tmp_path / "site", tmp_path / "site-1.signed (1).zip"
    shutil.copytree(enrolled.site, site)
    shutil.copy(enrolled.server / "approved" / "site-1.signed.zip", renamed)
    assert site_command.join(site, renamed, enrolled.fingerprint, print) == 0


def test_a_file_that_is_no_approval_is_refused(enrolled, tmp_path):
    with pytest.raises(UsageError, match=r"nope\.zip: does not exist; give the approval"):
        site_command.join(enrolled.site, tmp_path / "nope.zip", enrolled.fingerprint, print)
    with pytest.raises(InputError, match="is no approval; give the"):
        site_command.join(enrolled.site, enrolled.plan, enrolled.fingerprint, print)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "site-9"}, "site-9: is no site of phantoms"),
        ({"org": "elsewhere"}, "says it is of elsewhere, the project says site_2"),
        ({"cert_type": "server"}, "asks to be server; only sites are approved"),
        ({"cert_type": "lead"}, "asks to be lead"),
    ],
)
def test_a_stranger_is_not_approved(enrolled, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        server_command.approve(enrolled.server, projects.request(tmp_path / "r.zip", **changes), 10, False, print)
    assert [path.name for path in (enrolled.server / "approved").iterdir()] == ["site-1.signed.zip"]


def test_a_file_that_is_no_request_is_refused(enrolled, tmp_path):
    (tmp_path / "r.zip").write_text("no zip")
    with pytest.raises(InputError, match="is no request"):
        server_command.approve(enrolled.server, tmp_path / "r.zip", 10, False, print)
    with pytest.raises(UsageError, match="not found; give the request"):
        server_command.approve(enrolled.server, tmp_path / "none.zip", 10, False, print)


def test_a_site_that_is_not_in_the_project_makes_no_key(enrolled, tmp_path):
    with pytest.raises(UsageError, match="site-9: is no site of phantoms"):
        site_command.request(enrolled.plan, "site-9", [enrolled.data], tmp_path / "out", say=print)
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_fails_its_check_is_refused_before_any_key_is_made(enrolled, tmp_path):
    dataset = tmp_path / "dataset"
    write_site(dataset, SiteInfo("site-1"))
    case = dataset / "cases" / "case-1"
    case.mkdir()
    (case / "labels.json").write_text("{")
    with pytest.raises(InputError, match=r"fails its check \(case-1: .*fedkdtavi site check"):
        site_command.request(enrolled.plan, "site-1", [dataset], tmp_path / "out", say=print)
    with pytest.raises(UsageError, match="is no site dataset"):
        site_command.request(enrolled.plan, "site-1", [tmp_path / "nowhere"], tmp_path / "out", say=print)
    assert not (tmp_path / "out").exists()


def test_labels_that_a_site_does_not_have_are_told_before_it_joins(enrolled, tmp_path):
    write_site(tmp_path / "data", SiteInfo("site-1"))
    assert site_command.promised([tmp_path / "data"], ("hps", "calc")) == ["hps", "calc"]
    case = tmp_path / "data" / "cases" / "case-1"
    case.mkdir()
    held = {"calcification": Status.CONFIRMED, "ms_upper": Status.PREDICTED, "hinge_rcc": Status.CORRECTED}
    records = {name: LabelRecord(state, reviewer="r1") for name, state in held.items()}
    write_record(case / "labels.json", CaseRecord("0" * 64, records))
    assert site_command.promised([tmp_path / "data"], ("hps", "ms", "calc")) == ["ms"]
    assert site_command.promised([tmp_path / "data", enrolled.data], ("ms",)) == []  # a cache: the rounds count it


def test_a_folder_that_cannot_be_written_is_refused(enrolled, tmp_path):
    (tmp_path / "file").touch()
    for begin in (
        lambda out: server_command.init(enrolled.plan, out, print),
        lambda out: site_command.request(enrolled.plan, "site-1", [enrolled.data], out, say=print),
    ):
        with pytest.raises(UsageError, match=r"cannot be written \(Not a directory\); give another folder"):
            begin(tmp_path / "file" / "out")


def test_nothing_that_is_there_is_founded_or_requested_again(enrolled):
    with pytest.raises(UsageError, match="holds a federation already"):
        server_command.init(enrolled.plan, enrolled.server, print)
    with pytest.raises(UsageError, match="has made a request already"):
        site_command.request(enrolled.plan, "site-1", [enrolled.data], enrolled.site, say=print)


def test_steps_out_of_order_say_which_comes_first(enrolled, tmp_path):
    with pytest.raises(UsageError, match=r"make a request with .* first"):
        site_command.join(tmp_path, enrolled.server / "approved" / "site-1.signed.zip", "SHA256:00", print)
    with pytest.raises(UsageError, match="is no server's folder"):
        server_command.start(tmp_path, print)
    for part in (kits.SITE, kits.PROJECT):
        shutil.copy(enrolled.site / part, tmp_path)
    with pytest.raises(UsageError, match=r"has not joined yet; .*fedkdtavi federation site join"):
        site_command.start(tmp_path, None, print)


def test_a_site_that_starts_crops_its_dataset_and_then_runs_the_engine(enrolled, tmp_path, monkeypatch):
    site, data, ran = tmp_path / "site", tmp_path / "data", []
    shutil.copytree(enrolled.site, site)
    shutil.rmtree(site / "work", ignore_errors=True)
    write_site(data, SiteInfo("site-1"))
    told = json.loads((site / "federation.json").read_text())
    (site / "federation.json").write_text(json.dumps(told | {"datasets": [str(data)]}))
    monkeypatch.setattr(engine, "run", lambda kind, folder, names, say, look: ran.append((kind, folder, names)) or 0)
    assert site_command.start(site, None, print) == 0
    assert ran == [("site", site, {"uid": "site-1", "org": "site_1"})]
    assert json.loads((site / "work" / "crops" / "0" / "cache.json").read_text())["site"] == "site-1"
    assert settings.read(settings.SiteSettings, site / "kit" / "local", "site-1").folders == (data,)
    with pytest.raises(BundleError, match="there is no such bundle; give"):  # told across the process
        site_command.start(site, tmp_path / "nowhere", print)


@pytest.fixture
def jobs(monkeypatch):
    """The engine's console, replaced: what was submitted; each job ends with ``end``."""
    asked = []

    def flare(arguments, folder, limit_s=300.0):
        if arguments[:2] == ["job", "list"]:
            return []
        asked.append(arguments)
        if arguments[:2] == ["job", "wait"]:
            jobs.end(folder)
        return {"job_id": f"job-{len(asked)}"}

    def jobs():
        return [json.loads((Path(one[3]) / "server/config/config_fed_server.json").read_text()) for one in asked[::2]]

    jobs.end = lambda folder: None
    monkeypatch.setattr(enrol, "flare", flare)
    monkeypatch.setattr(kits, "running", lambda folder: True)
    return jobs


def test_the_jobs_run_one_after_another_and_the_student_gets_the_teachers(enrolled, tmp_path, jobs, monkeypatch):
    pytest.importorskip("torch")
    shutil.copytree(enrolled.server, tmp_path / "server")
    monkeypatch.chdir(tmp_path)
    names = iter(["teacher-hps", "teacher-ms", "teacher-calc", "student", "student"])

    def end(folder):
        task = len(jobs()) % 4
        out = folder / "out" / f"task-{task}" / "federated"
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{next(names)}.safetensors").touch()

    jobs.end = end
    assert server_command.run(Path("server"), None, enrolled.said.append) == 0
    made = [one["workflows"][0]["args"]["experiment"] for one in jobs()]
    assert [one["task"] for one in made] == [1, 2, 3, 0]
    assert [len(one["sites"]) for one in made] == [3, 3, 3, 4]
    assert {one["aggregation"]["k"] for one in made} == {3}
    weights = {head: Path(path) for head, path in made[3]["teacher_weights"].items()}
    assert list(weights) == ["hps", "ms", "calc"]
    assert all(path.is_absolute() and path.exists() for path in weights.values())
    assert str(enrolled.data) not in json.dumps(made)
    server_command.run(Path("server"), None, enrolled.said.append)
    assert len(jobs()) == 5  # the student alone: it goes on, or is done at once


def test_a_job_that_ends_without_a_model_says_why(enrolled, tmp_path, jobs):
    pytest.importorskip("torch")
    server = tmp_path / "server"
    shutil.copytree(enrolled.server, server)
    (server / "console.log").write_text("FATAL_SYSTEM_ERROR received: of an older job\n")

    def end(folder):
        with (folder / "console.log").open("a") as file:
            file.write("x - Aborting current RUN due to FATAL_SYSTEM_ERROR received: No site could be read.\n")

    jobs.end = end
    with pytest.raises(UsageError, match=r"task 1 .*ended without a model \(No site could be read\); mend it"):
        server_command.run(server, None, print)
    jobs.end = lambda folder: None
    with pytest.raises(UsageError, match=r"ended without a model \(it gave no reason\)"):
        server_command.run(server, 2, print)


def test_a_job_that_is_not_the_projects_is_refused(enrolled):
    with pytest.raises(UsageError, match=r"task 7 is no job of phantoms; its jobs are 1, 2, 3, 0"):
        server_command.run(enrolled.server, 7, print)
