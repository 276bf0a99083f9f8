"""The alert that a rule captures a pod for, on its way into the context."""

from __future__ import annotations

import pytest

from forensics_core.api.names import ALERT_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
from forensics_core.api.resource import ObjectMeta
from forensics_core.operator.attempt.alert import LIMIT, alert_of


def bearing(text: str | None) -> PodCheckpoint:
    annotations = {} if text is None else {ALERT_ANNOTATION: text}
    return PodCheckpoint(
        metadata=ObjectMeta(name="web", annotations=annotations),
        spec=PodCheckpointSpec(pod="web-0"),
    )


def test_an_alert_is_a_document_of_its_own_and_without_one_there_is_none() -> None:
    assert alert_of(bearing(None)) == {}
    assert alert_of(bearing('{"rule": "shell"}')) == {"alert": {"rule": "shell"}}


@pytest.mark.parametrize("text", ["", "{", '{"a": NaN}', "[" * 500, "x" * (LIMIT + 1), "\udcff"])
def test_what_is_no_alert_is_said_to_be_unreadable(text: str) -> None:
    found = alert_of(bearing(text))["alert"]
    assert list(found) == ["unreadable"]
    assert len(found["unreadable"]) < 300
