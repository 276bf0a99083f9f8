"""What Falco and falcosidekick send is read, cut and made fit to be shown, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.capturerule import AlertPriority
from forensics_core.operator.alerts.falco import (
    BODY_LIMIT,
    DOCUMENT_LIMIT,
    FIELDS,
    UnreadableAlert,
    read_alert,
)
from tests.unit.operator.alerts.messages import body, falco, falcosidekick


@pytest.mark.parametrize("message", [falco(), falcosidekick()], ids=["falco", "falcosidekick"])
def test_both_senders_messages_name_pod_container_rule_priority_and_tags(message: Any) -> None:
    received = read_alert(body(message))
    alert = received.alert
    assert (alert.namespace, alert.pod, alert.container_id) == ("default", "web-0", "4f2a6d5c1b0e")
    assert (alert.rule, alert.priority) == ("Terminal shell in container", AlertPriority.NOTICE)
    assert "shell" in alert.tags
    assert received.of_a_pod
    assert received.at is not None
    assert received.at.isoformat() == "2025-02-26T22:39:47.261363+00:00"


def test_what_is_kept_is_json_with_the_output_and_the_fields() -> None:
    kept = json.loads(read_alert(body(falcosidekick())).alert.document)
    assert kept["output"].endswith("A shell was spawned in a container")
    assert kept["fields"]["proc.cmdline"] == "sh -c id"
    assert kept["fields"]["cluster"] == "prod"
    assert "fd.name" not in kept["fields"]
    assert kept["cut"] is False


@pytest.mark.parametrize(
    ("said", "priority"),
    [("Warning", "Warning"), ("WARNING", "Warning"), ("info", "Informational")],
)
def test_priorities_in_any_case(said: str, priority: str) -> None:
    assert read_alert(body(falco(priority=said))).alert.priority == priority


@pytest.mark.parametrize(
    "fields",
    [
        {"k8s.pod.name": None},
        {"k8s.pod.name": "<NA>"},
        {"k8s.ns.name": ""},
        {"k8s.ns.name": ["shop"]},
    ],
)
def test_an_alert_that_knows_nothing_but_a_container_is_of_its_pod(fields: dict[str, Any]) -> None:
    received = read_alert(body(falco(fields=fields)))
    assert received.of_a_pod
    assert (received.alert.namespace, received.alert.pod) == ("", "")
    for no_id in ("host", "", None, "<NA>", "4f2a6d5c1b0", "../../etc/passwd"):
        host = falco(fields=fields | {"container.id": no_id})
        assert not read_alert(body(host)).of_a_pod


def test_the_fields_of_the_plugin_k8smeta_name_a_pod_too() -> None:
    meta = {"k8smeta.ns.name": "shop", "k8smeta.pod.name": "db-0", "k8smeta.pod.uid": "u-1"}
    alert = read_alert(body(falco(fields=meta | {"k8s.pod.name": "<NA>"}))).alert
    assert (alert.namespace, alert.pod, alert.pod_uid) == ("shop", "db-0", "u-1")
    own = read_alert(body(falco(fields=meta | {"k8s.pod.uid": "u-2"}))).alert
    assert (own.namespace, own.pod, own.pod_uid) == ("default", "web-0", "u-2")


@pytest.mark.parametrize("time", ["", None, "yesterday", 7])
def test_a_time_that_is_none_is_no_reason_to_drop_an_alert(time: object) -> None:
    received = read_alert(body(falco(time=time)))
    assert received.at is None
    assert json.loads(received.alert.document)["time"] == ""


def test_a_time_without_a_zone_is_utc() -> None:
    received = read_alert(body(falco(time="2025-02-26T22:39:47")))
    assert received.at is not None
    assert received.at.isoformat() == "2025-02-26T22:39:47+00:00"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"22:39:47: Notice A shell was spawned",
        b"\xff\xfe",
        b'{"rule": "a", "x": {"y": 1, "y": 2}, "priority": "Notice"}',
        body(falco(rule="")),
        body(falco(rule=None)),
        body(falco(priority="High")),
        body(falco(priority=None)),
        b'{"rule": "a", "rule": "b", "priority": "Notice"}',
        b" " * (BODY_LIMIT + 1),
        b"[" * 5000,
    ],
    ids=range(13),
)
def test_what_is_no_alert_is_refused_with_what_to_do(data: bytes) -> None:
    with pytest.raises(UnreadableAlert, match="json_output") as caught:
        read_alert(data)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\\ud800", r"\ud800"),
        (b"\\u0000", r"\x00"),
        (b"\x01\n", r"\x01\n"),
        (b"\\" * 2, "\\"),
    ],
)
def test_nothing_that_an_intruder_types_keeps_its_alert_away(typed: bytes, shown: str) -> None:
    sent = body(falco()).replace(b"sh -c id", b"sh -c " + typed)
    received = read_alert(sent)
    assert received.of_a_pod
    kept = json.loads(received.alert.document)
    assert kept["fields"]["proc.cmdline"] == f"sh -c {shown}"


@pytest.mark.parametrize("number", [b"1" * 400, b"1e999", b"-Infinity", b"NaN"])
def test_numbers_that_are_none_are_kept_as_they_are_written(number: bytes) -> None:
    sent = b"\xef\xbb\xbf" + body(falco()).replace(b"34816", number)
    kept = json.loads(read_alert(sent).alert.document)
    assert kept["fields"]["proc.tty"] == number.decode()


@given(depth=st.integers(1, 3000))
def test_however_deep_it_is_nested_it_is_read_or_refused(depth: int) -> None:
    sent = body(falco()).replace(b"34816", b"[" * depth + b"]" * depth)
    try:
        assert read_alert(sent).of_a_pod
    except UnreadableAlert:
        assert depth > 100


def test_an_alert_with_the_long_commands_of_many_ancestors_is_taken() -> None:
    long = "\x01" * 4096
    alert = falco(output=long * 4, fields={f"proc.acmdline[{n}]": long for n in range(1, 6)})
    assert len(body(alert)) > 200_000
    assert read_alert(body(alert)).of_a_pod


def test_hostile_words_are_escaped_and_cut() -> None:
    hostile = "\x1b]0;owned\x07\u202e" + "A" * 100_000
    message = falco(
        output=hostile[:30_000],
        tags=[hostile[:200]] * 40,
        fields={"proc.cmdline": hostile[:9_000], "x\x1b": "y"},
    )
    alert = read_alert(body(message)).alert
    kept = json.loads(alert.document)
    assert "\x1b" not in alert.document
    assert "\u202e" not in kept["output"]
    assert len(kept["output"]) < 2100
    assert len(alert.tags) == 32
    assert all(len(tag) < 150 for tag in alert.tags)
    assert kept["fields"]["x\\x1b"] == "y"


def test_many_fields_are_cut_and_that_is_told() -> None:
    many = {f"field-{number:03}": "v" * 60 for number in range(300)}
    kept = json.loads(read_alert(body(falco(fields=many))).alert.document)
    assert len(kept["fields"]) <= FIELDS
    assert kept["cut"] is True


def test_what_does_not_fit_goes_fields_first_then_tags_then_the_output() -> None:
    wide = "\u4e2d"
    fields = {f"field-{number}": wide * 500 for number in range(20)}
    message = falco(output=wide * 2048, tags=[wide * 128] * 8, fields=fields, hostname=wide * 500)
    kept = json.loads(read_alert(json.dumps(message, ensure_ascii=False).encode()).alert.document)
    assert kept["cut"] is True
    assert not kept["fields"]
    assert kept["output"]
    message |= {"tags": [wide * 128] * 32, "source": wide * 512, "output_fields": {}}
    message["rule"] = wide * 256
    data = json.dumps(message, ensure_ascii=False).encode()
    assert len(read_alert(data).alert.document) <= DOCUMENT_LIMIT


def test_the_same_alert_has_the_same_digest_and_another_has_another() -> None:
    one = read_alert(body(falcosidekick())).alert.digest
    assert read_alert(body(falcosidekick(uuid="another"))).alert.digest == one
    for other in (falco(time="2025-02-26T22:39:48Z"), falco("web-1"), falco(output="else")):
        assert read_alert(body(other)).alert.digest != one


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    output=_ANY,
    tags=_ANY,
    fields=_ANY | st.dictionaries(st.text(), _ANY, max_size=60),
    time=_ANY,
    hostname=_ANY,
)
def test_whatever_an_alert_holds_what_is_kept_is_bounded_and_printable(
    output: Any, tags: Any, fields: Any, time: Any, hostname: Any
) -> None:
    message = {
        "rule": "r",
        "priority": "Error",
        "output": output,
        "tags": tags,
        "output_fields": fields,
        "time": time,
        "hostname": hostname,
    }
    try:
        alert = read_alert(body(message)).alert
    except UnreadableAlert:
        return
    assert len(alert.document) <= DOCUMENT_LIMIT
    assert alert.document.isascii()
    assert isinstance(json.loads(alert.document), dict)
