"""Logs: one object a line."""

from __future__ import annotations

import json
import logging
import sys

from forensics_core.service.logs import JsonFormatter


def record(**more: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.WARNING, "x.py", 1, "%s is\nhere", ("it",), None)
    vars(made).update(more)
    return made


def test_a_record_is_one_line_with_its_fields() -> None:
    line = JsonFormatter().format(record(checkpoint="ns/a", attempt=2))
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("warning", "a.b", "it is\nhere")
    assert (said["checkpoint"], said["attempt"]) == ("ns/a", 2)
    assert said["time"].endswith("+00:00")
    assert "args" not in said


def test_an_exception_comes_with_its_traceback() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        line = JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert "ValueError: odd" in json.loads(line)["traceback"]
    assert "\n" not in line
