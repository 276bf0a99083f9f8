"""Tables are cut at a limit, and say what of them is missing."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any

import pytest

from collector.node.tables import Tables, reason


def counting() -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"number": number}
        number += 1


def failing() -> Iterator[dict[str, Any]]:
    yield {"number": 0}
    raise OSError(errno.EPERM, "not you")


def test_a_table_without_end_is_cut() -> None:
    tables = Tables(100)
    tables.add("rows", counting())
    told = json.loads("".join(tables.parts({"namespace": "net:[1]"})))
    assert told["rows"][:2] == [{"number": 0}, {"number": 1}] and told["truncated"] == ["rows"]
    assert len(told["rows"]) == 7 and tables.room < 15


def test_a_long_table_is_handed_on_in_parts() -> None:
    tables = Tables(10**6)
    tables.add("rows", ({"number": number} for number in range(1000)))
    tables.add("none", ())
    parts = list(tables.parts({}))
    told = json.loads("".join(parts))
    assert [row["number"] for row in told["rows"]] == list(range(1000)) and told["none"] == []
    assert max(map(len, parts)) < 6000


def test_what_fails_keeps_what_came_before() -> None:
    tables = Tables(1000)
    tables.take("rows", failing())
    tables.take("others", iter([{"a": 1}]))
    assert json.loads("".join(tables.parts({}))) == {
        "unavailable": {"rows": "not you"},
        "rows": [{"number": 0}],
        "others": [{"a": 1}],
    }
    assert tables.missing == {"rows": ("NotPermitted", "not you")}


def test_a_part_is_called_by_its_own_name() -> None:
    tables = Tables(1000)
    assert not tables.read("sockets", 9999, lambda _: iter(()), "tcp sockets")
    assert "tcp sockets" in tables.missing and "sockets" not in tables.rows
    assert tables.read("sockets", 0, lambda _: iter([{"a": 1}]), "udp sockets")
    assert tables.rows == {"sockets": ['{"a": 1}']}


def test_a_table_that_changed_meanwhile_says_so() -> None:
    def changing(kernel: Any) -> Iterator[dict[str, Any]]:
        kernel.interrupted = True
        yield {"a": 1}

    tables = Tables(1000)
    tables.read("routes", 0, changing)
    assert json.loads("".join(tables.parts({})))["changedWhileRead"] == ["routes"]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (TimeoutError(), "Hung"),
        (PermissionError(), "NotPermitted"),
        (FileNotFoundError(errno.ENOENT, ""), "NotSupported"),
        (OSError(errno.EPROTONOSUPPORT, ""), "NotSupported"),
        (OSError(errno.EIO, ""), "Unreadable"),
        (OSError("no number"), "Unreadable"),
    ],
)
def test_the_manifests_word_for_why(error: OSError, word: str) -> None:
    assert reason(error) == word
