"""Old against new on a site's own reviewed cases: missing counts, intervals decide, one sentence is said."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import site_cases
import tiny_bundle

from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.bundle import compare, held_out, paired, seal
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.labels.markups import write_landmarks
from fedkdtavi_core.labels.record import CaseRecord, LabelRecord, read_record, volume_digest, write_record
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.site.ctfile import write_ct

CASES = ("a", "b")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A bundle that sees everything, and one whose networks have no septum head."""
    base = tmp_path_factory.mktemp("bundles")
    meta = tiny_bundle.described()
    meta["version"] = "2"
    meta["heads"] = {head: ids for head, ids in meta["heads"].items() if head != "ms"}
    few = tiny_bundle.student_model(heads=("hps", "calc"))
    return tiny_bundle.write_bundle(base / "whole"), tiny_bundle.write_bundle(base / "few", student=few, meta=meta)


@pytest.fixture(scope="module")
def site(tmp_path_factory, bundles):
    """Two cases: one corrected by a person, one confirmed as the first bundle predicted it; one without truth."""
    folder = site_cases.make_site(tmp_path_factory.mktemp("site"))
    for n, name in enumerate((*CASES, "c")):
        case = folder / "cases" / name
        case.mkdir(parents=True)
        write_ct(case / "ct.nii.gz", tiny_bundle.blob_volume(shape=(110, 104, 100 + n), noise_hu=12.0))
        volume = read_volume(case / "ct.nii.gz")
        status = (Status.CORRECTED, Status.CONFIRMED, Status.PREDICTED)[n]
        points = {i: Landmark(i, place + [1.0, 0, 0], None, None, status) for i, place in tiny_bundle.POINTS.items()}
        write_landmarks(case / "landmarks.mrk.json", points)
        records = {i: LabelRecord(status, bundle=bundles[0].digest) for i in points}
        write_record(case / "labels.json", CaseRecord(volume_digest(volume), records))
    return folder


def differences(gain, cases=20):
    rng = np.random.default_rng(1)
    return {str(n): list(rng.normal(gain, 0.5, 5)) for n in range(cases)}


@pytest.mark.parametrize(
    ("gain", "cases", "words"),
    [
        (0.8, 20, "new is better by 0.8 mm [0."),
        (-0.8, 20, "new is worse by 0.8 mm [0."),
        (0.0, 20, "no difference shown ("),
        (5.0, 7, "too few cases (7, at least 8"),
    ],
)
def test_what_may_be_said(gain, cases, words):
    assert paired.paired(differences(gain, cases)).sentence().startswith(words)


def test_whole_cases_are_drawn():
    """Forty landmarks of eight CTs that agree within each CT say no more than eight values do."""
    rng = np.random.default_rng(0)
    per_case = rng.normal(0.5, 1.0, 8)
    once = paired.paired({str(n): [v] for n, v in enumerate(per_case)})
    often = paired.paired({str(n): [v] * 5 for n, v in enumerate(per_case)})
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


def test_both_run_on_reviewed_cases_and_missing_counts(bundles, site):
    whole, few = bundles
    result = compare.compare(whole, few, site)
    assert {pair.case for pair in result.pairs} == set(CASES) and len(result.pairs) == 14
    summary = compare.summarise(result)
    septum = summary["landmarks"]["ms_upper"]
    assert (septum["n"], septum["old_missing"], septum["new_missing"], septum["new_median"]) == (2, 0, 2, None)
    assert septum["gain_mean"] == pytest.approx(septum["old_median"] - paired.WORST_MM, abs=0.3)
    assert summary["landmarks"]["hinge_rcc"]["gain_mean"] == 0
    assert 0.5 < summary["landmarks"]["hinge_rcc"]["old_median"] < 2
    assert summary["confirmed_as_predicted_by"] == {"old": 7, "new": 0}
    assert summary["verdict"].startswith("too few cases (2")


def test_the_command_writes_table_and_json(bundles, site, tmp_path, capsys):
    whole, few = bundles
    table = tmp_path / "pairs.csv"
    assert main(["bundle", "compare", str(few.path), str(whole.path), str(site), "--out", str(table), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["new"]["digest"] == whole.digest and told["all_landmarks"]["old_missing"] == 4
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14 and {row["old"] for row in rows if row["label"] == "ms_lower"} == {"inf"}
    assert {row["taken_from"] for row in rows if row["case"] == "b"} == {"new"}
    assert main(["bundle", "compare", str(few.path), str(whole.path), str(site)]) == 0
    printed = capsys.readouterr().out
    assert "On this site: too few cases" in printed and "that favours it" in printed


def taught(site_id="clinic", share=0.0, **more):
    return {"taught": {"held_out": share, "sites": {"north": {"id": site_id}}}, **more}


def test_what_a_bundle_has_learned_from_is_told_by_the_ct_alone():
    digests = [f"{n:064x}" for n in range(2000)]
    out = {share: {d for d in digests if held_out.is_held_out(d, share)} for share in (0.0, 0.2, 0.5, 1.0)}
    assert [len(found) for found in out.values()] == [0, pytest.approx(400, abs=60), pytest.approx(1000, abs=80), 2000]
    assert out[0.2] < out[0.5]
    assert held_out.has_learned_from(taught(), "clinic", digests[0])
    assert not held_out.has_learned_from(taught("elsewhere"), "clinic", digests[0])
    (learned,) = sorted(set(digests) - out[0.2])[:1]
    for digest, has in ((learned, True), (next(iter(out[0.2])), False)):  # a federation does not know who its sites are
        assert held_out.has_learned_from(taught(held_out.ANY_SITE, 0.2), "clinic", digest) is has
    (kept,) = list(out[0.2])[:1]
    assert not held_out.has_learned_from(taught(share=0.2), "clinic", kept)
    assert held_out.has_learned_from(
        taught(share=0.2, parent=taught()), "clinic", kept
    )  # what its parent knows, it knows
    for nonsense in ({"taught": 3}, {"taught": {"sites": [1]}}, {"taught": {"sites": {"a": 3}}, "parent": ["x"]}):
        assert not held_out.has_learned_from(nonsense, "clinic", kept)


def test_cases_that_a_bundle_has_learned_from_are_no_test_of_it(bundles, site, tmp_path, capsys):
    whole, few = bundles
    records = {case: read_record(site / "cases" / case / "labels.json").ct_sha256 for case in CASES}
    share = next(n / 100 for n in range(101) if sum(held_out.is_held_out(d, n / 100) for d in records.values()) == 1)
    (kept,) = (case for case, digest in records.items() if held_out.is_held_out(digest, share))

    def lesson(name, share):
        folder = shutil.copytree(few.path, tmp_path / name)
        (folder / "provenance.json").write_text(json.dumps(taught(share=share)))
        return seal(folder)

    result = compare.compare(whole, lesson("most", share), site)
    assert {pair.case for pair in result.pairs if not pair.learned_by} == {kept}
    summary = compare.summarise(result)
    assert (summary["cases"], summary["all_landmarks"]["n"], summary["learned_from"]) == (1, 7, {"old": 0, "new": 1})
    assert main(["bundle", "compare", str(whole.path), str(lesson("all", 0.0).path), str(site)]) == 0
    assert "warning: the new bundle has learned from 2 of these cases" in capsys.readouterr().out


def test_what_is_refused(bundles, site, tmp_path, capsys):
    whole, few = bundles
    with pytest.raises(UsageError, match="same bundle"):
        compare.compare(whole, whole, site)
    empty = site_cases.make_site(tmp_path / "empty")
    assert main(["bundle", "compare", str(whole.path), str(few.path), str(empty)]) == 2
    assert "no confirmed or corrected label" in capsys.readouterr().err
    assert main(["bundle", "compare", str(tmp_path), str(few.path), str(site)]) == 5
    broken = site_cases.make_site(tmp_path / "broken")
    case = site_cases.make_case(broken, "x", {"hinge_rcc": Status.CONFIRMED})
    (case / "ct.nii.gz").write_bytes(b"nothing")
    capsys.readouterr()
    assert main(["bundle", "compare", str(whole.path), str(few.path), str(broken)]) == 4
    assert "no case could be compared" in capsys.readouterr().err
    assert main(["bundle", "compare", str(whole.path), str(few.path), str(broken), "--progress", "json"]) == 4
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["status"], last["error"]["code"]) == ("result", "failed", "input")
