"""What people see of a federation: as text, as JSON, and as a page that needs no other."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import hospitals
import pytest

from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training.federation import certificates, connection, kits, page, progress, simulation, status
from fedkdtavi_training.federation.certificates import Certificate
from fedkdtavi_training.federation.progress import Door, Progress

ROWS = [
    {"site": "site-1", "outcome": "averaged", "reason": "", "loss": 0.3},
    {"site": "site-2", "outcome": "failed", "reason": "no answer within 30 s"},
    {"site": "site-3", "outcome": "no labels", "reason": ""},
]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Page(HTMLParser):
    """Texts of a page; every tag is closed, and nothing is loaded from elsewhere."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open, self.texts, self.links = [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def rounds(folder):
    made = Progress(folder)
    made.stage("teacher-ms", 4)
    made.round("teacher-ms", 1, ROWS, {"ms": "the head ms stays: 1 site has sent it, 3 are needed"})
    made.round("teacher-ms", 2, ROWS[:1])
    return made


def test_rounds_sites_and_frozen_heads_are_told(tmp_path):
    rounds(tmp_path)
    found = status.gather(tmp_path)
    assert [(stage["name"], stage["of"], len(stage["history"])) for stage in found["stages"]] == [("teacher-ms", 4, 2)]
    first = found["stages"][0]["history"][0]
    assert (first["averaged"], first["no_labels"]) == (["site-1"], ["site-3"])
    assert first["left_out"] == {"site-2": "failed: no answer within 30 s"}
    assert [site["name"] for site in found["sites"] if site["seen"] is None] == ["site-2"]
    text = status.text(found)
    assert "round 2 of 4, 1 sites averaged" in text
    assert "teacher-ms 1: failed, no answer within 30 s" in text
    assert "frozen: teacher-ms round 1: the head ms stays: 1 site has sent it, 3 are needed" in text


def test_what_is_wrong_with_a_site_that_counts_is_told_of_its_round(tmp_path):
    made = Progress(tmp_path)
    odd = "its loss is not finite and not told further"
    made.round("teacher-ms", 1, [ROWS[0] | {"reason": odd}])
    text = status.text(status.gather(tmp_path))
    assert f"round 1, 1 sites averaged; site-1: {odd}" in text
    assert f"teacher-ms 1: averaged, {odd}" in text
    assert odd in (tmp_path / "status.html").read_text()
    made.round("teacher-ms", 2, ROWS[:1])
    assert odd not in status.text(status.gather(tmp_path))


def test_the_page_is_written_each_round_and_needs_no_other(tmp_path):
    rounds(tmp_path)
    made = Page((tmp_path / "status.html").read_text())
    assert made.open == []
    assert made.links == []
    assert "round 2 of 4, 1 sites averaged" in made.texts
    assert "teacher-ms 1: failed, no answer within 30 s" in made.texts
    assert "the head ms stays: 1 site has sent it, 3 are needed" in made.texts


def test_what_a_site_is_called_or_says_is_text_on_the_page(tmp_path):
    row = {"site": "<b>x", "outcome": "refused", "reason": "<script>alert(1)</script>"}
    Progress(tmp_path).round("<i>", 1, [row], ["<u>"])
    Door(tmp_path).refused("<b>x", "<img src=x>")
    source = page.html(status.gather(tmp_path))
    assert {"<b>x", "<i>", "<u>", "<img src=x>"} <= set(Page(source).texts)
    assert not any(tag in source for tag in ("<script", "<b>", "<img", "<u>"))


def test_a_run_that_goes_on_adds_to_the_status_and_a_round_done_again_counts_once(tmp_path):
    rounds(tmp_path)
    again = Progress(tmp_path)
    again.round("teacher-ms", 2, ROWS[:1])
    again.round("teacher-ms", 3, ROWS)
    history = status.gather(tmp_path)["stages"][0]["history"]
    assert [entry["round"] for entry in history] == [1, 2, 3]


def test_sites_that_answer_at_the_same_time_are_all_noted(tmp_path):
    made = Progress(tmp_path)
    threads = [threading.Thread(target=made.site_seen, args=(f"site-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "status.json").read_text())["sites"]) == 8


def test_who_was_at_the_door_is_told(tmp_path):
    rounds(tmp_path)
    door = Door(tmp_path)
    door.came("site-2")
    for _ in range(progress.REFUSALS_KEPT + 5):
        door.refused("site-4", "site-4 runs fedkdtavi 0.0.9, the project runs 0.1.0")
    found = status.gather(tmp_path)
    assert len(found["refused"]) == progress.REFUSALS_KEPT
    assert [site["name"] for site in found["sites"] if site["seen"] is None] == []
    assert "refused at the door" in status.text(found)


def test_a_simulation_has_the_same_status(tmp_path):
    folders = hospitals.write(tmp_path / "data")
    chosen = hospitals.experiment(folders, tmp_path / "out", task=2, aggregation={"k": 3})
    simulation.run(chosen)
    found = status.gather(tmp_path / "out")
    assert [(stage["name"], stage["of"]) for stage in found["stages"]] == [("federated/teacher-ms", 2)]
    last = found["stages"][0]["history"][-1]
    assert (last["averaged"], last["no_labels"]) == (["a", "c"], ["b", "d"])
    assert [one["round"] for one in found["frozen"]] == [1, 1, 2, 2]
    assert found["frozen"][0]["why"] == "ms stays as it is: 2 of at least 3 sites taught it"
    assert (tmp_path / "out" / "status.html").exists()


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no folder of a server, a site or a simulation"):
        status.gather(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"sites": []}'])
def test_a_broken_status_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    with pytest.raises(InputError, match=r"status\.json: cannot be read .*; remove it"):
        Progress(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"status\.json: cannot be written .*; make room"):
        Progress(tmp_path / "file" / "out").site_seen("site-1")


@pytest.mark.parametrize(
    ("days", "words"), [(31, None), (29, "ends in 29 days, on 2026-03-30"), (-1, "ended on 2026-02-28")]
)
def test_a_certificate_near_its_end_is_told_thirty_days_ahead(days, words):
    until = NOON + timedelta(days=days, hours=1)
    warning = Certificate("site-1", NOON - timedelta(days=400), until).warning(NOON)
    assert warning is None if words is None else words in warning


def test_an_ended_certificate_and_a_wrong_clock_refuse_the_start():
    one = Certificate("site-1", NOON, NOON + timedelta(days=100))
    assert certificates.check(one, NOON + timedelta(days=1)) is None
    assert "ends in 9 days" in certificates.check(one, NOON + timedelta(days=90, hours=1))
    with pytest.raises(UsageError, match="ended on 2026-06-09; request, approve and join anew"):
        certificates.check(one, NOON + timedelta(days=101))
    with pytest.raises(UsageError, match="ended on 2026-06-09; it cannot be renewed: found a new federation"):
        certificates.check(one, NOON + timedelta(days=101), certificates.FOUND_ANEW)
    with pytest.raises(UsageError, match=r"is good from 2026-03-01 12:00 UTC, here it is 2026-02-28 12:00 UTC; set"):
        certificates.check(one, NOON - timedelta(days=1))


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s ago"), (130, "2 min ago"), (8000, "2 h ago"), (2e5, "2 days ago")]
)
def test_how_long_ago_is_in_words(seconds, words):
    assert status.ago((NOON - timedelta(seconds=seconds)).isoformat(), NOON) == words
    assert status.ago(None) == "never"
    assert (status.clock("2026-03-01T12:00:00+00:00"), status.clock(None)) == ("2026-03-01 12:00:00", "never")


def site(folder) -> str:
    """The first line of a site's status; the site runs."""
    told = {"project": "phantoms", "name": "site-1", "server": "fed.example.org:8002"}
    (folder / "federation.json").write_text(json.dumps(told))
    return status.text(status.gather(folder)).splitlines()[0]


def answer(folder, seconds: float) -> None:
    """The server's last answer was so long ago."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    (folder / connection.FILE).write_text(json.dumps({"answered": moment.isoformat(timespec="seconds")}))


def test_the_status_of_a_site_tells_whether_it_is_connected(tmp_path, monkeypatch):
    assert site(tmp_path).endswith("server fed.example.org:8002: not running")
    monkeypatch.setattr(kits, "running", lambda folder: True)
    assert site(tmp_path).endswith(": running, not connected since its start")
    connection.note(tmp_path)
    assert site(tmp_path).endswith(": running, connected")
    answer(tmp_path, 300)
    assert "running, not connected since 20" in site(tmp_path) and site(tmp_path).endswith(" UTC (5 min ago)")
    (tmp_path / connection.FILE).write_text("{")
    assert status.gather(tmp_path)["connected"] is False


def test_a_site_says_once_that_it_is_connected_and_when_it_is_no_longer(tmp_path, monkeypatch):
    said = []
    connection.note(tmp_path)  # of an earlier start
    watch = connection.Watch(tmp_path, "site-1", "fed.example.org:8002", said.append)
    watch.look()
    assert said == []
    for _ in range(2):
        connection.note(tmp_path)
        watch.look()
    assert said == ["site-1: connected to fed.example.org:8002"]
    answer(tmp_path, 300)
    watch.look()
    watch.look()
    assert len(said) == 2 and "no answer from fed.example.org:8002 since" in said[1]
    connection.note(tmp_path)
    watch.look()
    assert said[2:] == said[:1]


def test_a_site_that_cannot_connect_says_so_once_with_host_and_port(tmp_path, monkeypatch):
    said = []
    watch = connection.Watch(tmp_path, "site-1", "fed.example.org:8002", said.append)
    monkeypatch.setattr(connection, "FIRST_S", -1.0)
    watch.look()
    watch.look()
    (warning,) = said
    assert "no connection to host fed.example.org, port 8002" in warning and "firewall" in warning
