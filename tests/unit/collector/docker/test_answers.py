"""What the Docker Engine says of exec sessions, of which megabytes cost no megabytes."""

from __future__ import annotations

import json
from typing import Any

from collector.docker.answers import MAX_EVENTS, described, events_of, exec_session


def said(*words: str) -> dict[str, Any]:
    process = {"entrypoint": words[0], "arguments": list(words[1:]), "tty": True, "user": "app"}
    return {"ID": "4f2a", "Running": True, "Pid": 7, "ProcessConfig": process}


def test_what_docker_says_of_a_session() -> None:
    document = said("sh", "-c", "id")
    assert exec_session(json.dumps(document).encode()) == {
        "id": "4f2a",
        "pid": 7,
        "running": True,
        "terminal": True,
        "command": ["sh", "-c", "id"],
        "user": "app",
        "said": document,
    }


def test_a_session_that_has_ended_and_one_of_few_words() -> None:
    found = exec_session(b'{"ID": "4f2a", "Running": false, "Pid": 0}')
    assert (found["pid"], found["running"], found["command"]) == (None, False, [])


def test_a_command_of_megabytes_is_cut() -> None:
    found = exec_session(json.dumps(said("sh", "-c", "x" * 10**6)).encode())
    assert found["command"] == ["sh", "-c"] and found["said"]["commandTruncated"]
    assert len(json.dumps(found)) < 1000


def test_events_of_containers_and_whether_the_engine_may_have_forgotten_some() -> None:
    rows = [{"Type": kind, "Actor": {"ID": "a"}} for kind in ("container", "network")]
    rows += [{"Type": "container", "Actor": {"ID": "b"}}]
    told = "\n".join(map(json.dumps, rows)).encode() + b"\n"
    few, many = events_of(told, {"a"}), events_of(told * MAX_EVENTS, {"a"})
    assert few.lines == json.dumps(rows[0]).encode() and not few.cut and many.cut


def test_when_a_container_was_made() -> None:
    said = {"Id": "1", "Name": "/web", "Config": {}, "State": {"Status": "running"}}
    assert described(json.dumps(said).encode()).made == 0
    made = {**said, "Created": "2026-01-01T00:00:00.5Z"}
    assert described(json.dumps(made).encode()).made == 1767225600.5
