"""Printer columns, cells and ages."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback.kinds.resources import Registry, ServedResource
from forensics_loopback.printing import tables

OBJ: dict[str, Any] = {
    "a": {"b": [{"type": "x", "n": 1}, {"type": "y", "n": 2, "ok": True}]},
    "labels": {"k8s.io/name": "web"},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".a.b[0].n", 1),
        (".a.b[-1].n", 2),
        (".a.b[5].n", None),
        (".a.b[*].type", "x"),
        ('.a.b[?(@.type=="y")].n', 2),
        (".a.b[?(@.type=='z')].n", None),
        (".a.b[?(@.n==2)].type", "y"),
        (".a.b[?(@.ok==true)].n", 2),
        (".a.b[?(@.type==y)].n", 2),
        (r".labels.k8s\.io/name", "web"),
        ("['labels']['k8s.io/name']", "web"),
        (".a.none", None),
        (".a[0]", None),
        (".a.b.c", None),
        ("no path", None),
    ],
)
def test_a_jsonpath_finds_the_first_value(path: str, value: object) -> None:
    assert tables.find(OBJ, path) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (303, "5m3s"),
        (1200, "20m"),
        (4 * 3600 + 60, "4h1m"),
        (30 * 3600, "30h"),
        (3 * 86400 + 7200, "3d2h"),
        (100 * 86400, "100d"),
        (800 * 86400, "2y"),
    ],
)
def test_ages_are_shown_as_kubectl_shows_them(seconds: int, text: str) -> None:
    assert tables.human_duration(seconds) == text


def meta(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "creationTimestamp": "2020-01-01T00:00:00Z", **more}


def row(resource: ServedResource, obj: dict[str, Any], include: str = "") -> dict[str, Any]:
    """The object's cells by column."""
    found = tables.table(resource, [obj], {}, include=include)
    names = [column["name"] for column in found["columnDefinitions"]]
    return dict(zip(names, found["rows"][0]["cells"], strict=True))


def named(name: str) -> ServedResource:
    return Registry().named(name)


def test_custom_columns_show_dates_as_ages_and_lists_as_text() -> None:
    columns = (
        {"name": "When", "type": "date", "jsonPath": ".when"},
        {"name": "None", "type": "date", "jsonPath": ".none"},
        {"name": "List", "type": "string", "jsonPath": ".list", "description": "A list"},
    )
    resource = ServedResource("g", "v1", "things", "Thing", custom=True, columns=columns)
    obj = {"metadata": meta(), "when": "2020-01-01T00:00:00Z", "list": [1]}
    assert row(resource, obj)["When"].endswith("y")
    assert (row(resource, obj)["None"], row(resource, obj)["List"]) == (None, "[1]")


def test_custom_resources_without_columns_show_their_age() -> None:
    resource = ServedResource("g", "v1", "things", "Thing", custom=True)
    assert list(row(resource, {"metadata": meta()})) == ["Name", "Age"]


def test_an_age_that_is_not_known_is_shown_as_unknown() -> None:
    assert tables.age(None) == "<unknown>"


@pytest.mark.parametrize(
    ("include", "keys"),
    [("", {"cells", "object"}), ("None", {"cells"}), ("Object", {"cells", "object"})],
)
def test_rows_carry_the_object_that_was_asked_for(include: str, keys: set[str]) -> None:
    obj = {"kind": "Secret", "metadata": meta(), "data": {"a": "b"}}
    (found,) = tables.table(named("secrets"), [obj], {}, include=include)["rows"]
    assert found.keys() == keys
    assert (found.get("object", {}).get("data") is not None) == (include == "Object")


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": meta(), "spec": {"containers": [{}], "nodeName": "n1"}, "status": status}


@pytest.mark.parametrize(
    ("obj", "status"),
    [
        (pod(phase="Pending"), "Pending"),
        (pod(phase="Failed", reason="Evicted"), "Evicted"),
        (pod(containerStatuses=[{"state": {"terminated": {"reason": "OOMKilled"}}}]), "OOMKilled"),
        (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), "Running"),
        ({**pod(), "metadata": meta(deletionTimestamp="2020-01-01T00:00:00Z")}, "Terminating"),
    ],
)
def test_a_pod_s_row_shows_status_and_node(obj: dict[str, Any], status: str) -> None:
    assert row(named("pods"), obj)["Status"] == status
    assert row(named("pods"), obj)["Node"] == "n1"


def job(**status: Any) -> dict[str, Any]:
    return {"metadata": meta(), "status": status}


def test_a_job_s_row_shows_status_and_duration() -> None:
    waiting = row(named("jobs"), job())
    assert (waiting["Status"], waiting["Duration"], waiting["Completions"]) == (
        "Running",
        "",
        "0/1",
    )
    times = {"startTime": "2020-01-01T00:00:00Z", "completionTime": "2020-01-01T00:01:00Z"}
    conditions = [{"type": "SuccessCriteriaMet"}, {"type": "Complete"}]
    done = row(named("jobs"), job(conditions=conditions, succeeded=1, **times))
    assert (done["Status"], done["Duration"], done["Completions"]) == ("Complete", "60s", "1/1")


def test_nodes_and_events() -> None:
    conditions = [{"type": "Ready", "status": "False"}]
    down = {"metadata": meta(), "status": {"conditions": conditions}}
    assert row(named("nodes"), down)["Status"] == "NotReady"
    event = {
        "metadata": meta(),
        "regarding": {"kind": "Pod", "name": "web"},
        "note": "hello",
        "eventTime": "2020-01-01T00:00:00Z",
    }
    cells = row(named("events"), event)
    assert (cells["Object"], cells["Message"]) == ("pod/web", "hello")
