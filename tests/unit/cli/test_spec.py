from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.order import ArtifactKind, Compression, RetentionMode
from forensics_core.cli import options, request
from forensics_core.cli.spec import build_spec, pod_name
from forensics_core.errors import UsageError


def spec(pod: str = "web-0", **given: Any) -> dict[str, Any]:
    return build_spec(pod, "shop", given).model_dump(mode="json", by_alias=True, exclude_unset=True)


def test_what_was_not_given_is_left_to_the_cluster() -> None:
    nothing: dict[str, Any] = {
        "to": None,
        "subpath": None,
        "containers": (),
        "reason": "",
        "pause": False,
    }
    assert spec(**nothing) == {"pod": "web-0", "namespace": "shop"}


def test_everything_that_was_given_is_asked_for() -> None:
    asked = spec(
        to="s3://cases/prod",
        subpath="",
        containers=("app", "proxy"),
        artifacts=("memory", "volumes"),
        compression="none",
        pause=True,
        record=60,
        volumes=("tls",),
        deleted_budget=0,
        no_freeze=True,
        incident="INC-7",
        reason="odd traffic",
        retention_days=30,
        retention_mode="Compliance",
        legal_hold=True,
        kms_key_id="key",
        deadline=600,
        ttl=0,
    )
    assert asked == {
        "pod": "web-0",
        "namespace": "shop",
        "destination": "s3://cases/prod",
        "subpath": "",
        "containers": ["app", "proxy"],
        "artifacts": ["memory", "volumes"],
        "compression": "none",
        "pause": True,
        "recordSeconds": 60,
        "volumes": ["tls"],
        "deletedBudget": 0,
        "freeze": False,
        "incident": "INC-7",
        "reason": "odd traffic",
        "retention": {"days": 30, "mode": "Compliance", "legalHold": True},
        "encryption": {"kmsKeyId": "key"},
        "activeDeadlineSeconds": 600,
        "ttlSecondsAfterFinished": 0,
    }


@pytest.mark.parametrize("typed", ["web-0", "pod/web-0", "pods/web-0", "po/web-0"])
def test_the_pod_may_be_named_as_kubectl_does(typed: str) -> None:
    assert pod_name(typed) == "web-0"


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("POD", {"pod": "deployment/web"}),
        ("POD", {"pod": "Web"}),
        ("--to", {"to": "https://cases"}),
        ("--subpath", {"subpath": "/absolute"}),
        ("--container", {"containers": ("a_b",)}),
        ("--incident", {"incident": "INC 7"}),
        ("--reason", {"reason": "x" * 1025}),
        ("--record", {"record": 86401}),
        ("--volume", {"volumes": ("",)}),
        ("--deleted-budget", {"deleted_budget": 2**41}),
        ("--deadline", {"deadline": 0}),
        ("--kms-key-id", {"kms_key_id": "k" * 2049}),
        ("--retention-mode", {"retention_mode": "Governance"}),
    ],
)
def test_what_cannot_be_is_named_by_its_option(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as failure:
        spec(**given)
    assert failure.value.message.startswith(option)


def test_the_choices_are_those_of_the_resource() -> None:
    assert set(request.ARTIFACTS) == set(ArtifactKind)
    assert set(request.COMPRESSIONS) == set(Compression)
    assert set(options.RETENTION_MODES) == set(RetentionMode)
