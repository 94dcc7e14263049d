"""A file is replaced whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import os

import pytest

from fedkdtavi_core import atomic
from fedkdtavi_core.labels.jsonfile import read_json, replace_json, write_json


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "active"
    for content in (b"one", b"two"):
        atomic.replace_file(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["active"]


def test_what_cannot_be_written_leaves_the_older_one(tmp_path):
    resource = pytest.importorskip("resource", reason="no limits on files on this system")
    path = tmp_path / "site.json"
    replace_json(path, {"id": "north"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_json(path, {"id": "n" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_json(path, "a site") == {"id": "north"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["site.json"]
    with pytest.raises(FileNotFoundError):
        atomic.replace_file(tmp_path / "nowhere" / "x", b"")


def test_the_new_content_is_on_the_disk_before_it_bears_the_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "x", []
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append((path.read_bytes(), atomic.part_of(path).read_bytes())))
    atomic.replace_file(path, b"new")
    assert seen == [(b"old", b"new")] and path.read_bytes() == b"new"


def test_both_ways_of_writing_json_give_the_same_bytes(tmp_path):
    value = {"name": "Zürich", "mm": 1.5, "nothing": float("nan")}
    write_json(tmp_path / "a", value)
    replace_json(tmp_path / "b", value)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
