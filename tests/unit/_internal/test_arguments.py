"""Arguments and public models that do not fit: our error, which names what does not."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from forensics_core import models
from forensics_core._internal.arguments import checked_arguments
from forensics_core.errors import UsageError
from forensics_core.models import (
    Encryption,
    NotCaptured,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
    Progress,
    Retention,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PUBLIC = sorted(
    name
    for name in models.__all__
    if inspect.isclass(getattr(models, name)) and issubclass(getattr(models, name), BaseModel)
)


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        (PodCheckpointSpec, {"pod": "Web"}, "PodCheckpointSpec.pod: .*'Web'"),
        (
            PodCheckpointSpec,
            {"pod": "web", "poed": 1},
            r"poed: Extra inputs are .*: 1\.",
        ),
        (PodCheckpointSpec, {}, r"PodCheckpointSpec\.pod: Field required\. help\(PodCheckpointSp"),
        (PodCheckpointSpec, {"pod": "web", "destination": "ftp://x"}, "destination: "),
        (PodCheckpointSpec, {"pod": "web", "artifacts": ["nope"]}, r"artifacts\.0: .*'nope'"),
        (PodCheckpointSpec, {"pod": "web", "retention": {"days": 0}}, r"retention\.days: .*: 0\."),
        (PodCheckpointSpec, {"pod": "web", "active_deadline_seconds": 0}, ".active_deadline_s"),
        (PodCheckpointSpec, {"pod": "web", "activeDeadlineSeconds": 0}, ".activeDeadlineSec"),
        (Retention, {"days": 0}, r"Retention\.days: "),
        (Encryption, {"kms_key_id": ""}, r"Encryption\.kms_key_id: "),
        (PodCheckpoint, {"spec": {"pod": "Web"}}, r"PodCheckpoint\.spec\.pod: "),
        (PodCheckpointStatus, {"artifacts": -1}, r"PodCheckpointStatus\.artifacts: "),
        (Progress, {"artifacts_done": "x"}, r"Progress\.artifacts_done: "),
        (NotCaptured, {"what": "x", "reason": "y", "message": b"\xff"}, r"NotCaptured\.message: "),
    ],
)
def test_a_public_model_names_the_field_that_does_not_fit(
    model: type[BaseModel], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        model(**fields)
    assert (raised.value.reason, raised.value.exit_code) == ("UsageError", 2)
    assert raised.value.hint == f"help({model.__name__}) has what its fields take"
    assert isinstance(raised.value.__cause__, ValidationError)


@pytest.mark.parametrize("name", PUBLIC)
def test_no_constructor_of_a_public_model_lets_an_error_of_pydantic_out(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}"):
        getattr(models, name)(**{"size": "x", "artifacts": 5, "current": 5, "days": "x"})


@pytest.mark.parametrize("name", PUBLIC)
def test_pydantic_validates_documents_as_ever(name: str) -> None:
    with pytest.raises(ValidationError):
        getattr(models, name).model_validate(5)
    with pytest.raises(ValidationError):
        getattr(models, name).model_validate_json("5")


def test_a_model_within_a_document_is_named_by_its_place_in_it() -> None:
    with pytest.raises(ValidationError) as raised:
        PodCheckpoint.model_validate({"spec": {"pod": "web", "retention": {"days": 0}}})
    assert raised.value.errors()[0]["loc"] == ("spec", "retention", "days")


def test_a_long_value_is_shown_in_part_and_no_control_character_at_all() -> None:
    with pytest.raises(UsageError) as raised:
        PodCheckpointSpec(pod="\x1b" + "é" * 10_000)
    assert "'\\x1b\\xe9" in raised.value.message and "\x1b" not in raised.value.message
    assert len(raised.value.message) < 1000


def test_only_the_named_model_is_the_callers_fault() -> None:
    with pytest.raises(ValidationError), checked_arguments({}, model="Retention"):
        Encryption.model_validate({})
    names, takes = {"destination": "--to"}, {"destination": "a bucket"}
    with (
        pytest.raises(UsageError, match=r"^--to: 'cases' is not a bucket"),
        checked_arguments(names, takes=takes),
    ):
        PodCheckpointSpec.model_validate({"pod": "web", "destination": "cases"})
    names = {"days": "for how long"}
    with pytest.raises(UsageError, match=r"^for how long: "), checked_arguments(names):
        Retention.model_validate({"days": 0})
