"""The manifest is spelled as `docs/bundle.md` says, and older spellings are still read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forensics_core.api.order import ArtifactKind, PodRef, Requester
from forensics_core.bundle.manifest import Artifact, Capture, Statement
from forensics_core.errors import UsageError, VerificationError
from tests.bundles import capture, of_order

WHEN = datetime(2026, 8, 1, tzinfo=UTC)
ARTIFACT = Artifact(
    name="containers/web/diff.json",
    kind=ArtifactKind.DIFF,
    sha256="0" * 64,
    size=1,
    original_sha256="0" * 64,
    original_size=1,
    started_at=WHEN,
    finished_at=WHEN,
    seconds=0.5,
    version_id="v1",
    crc64nvme="AAAAAAAAAAA=",
)


def test_the_checksum_is_spelled_as_s3_does() -> None:
    document = json.loads(ARTIFACT.model_dump_json(by_alias=True))
    assert document["crc64nvme"] == "AAAAAAAAAAA=" and document["versionId"] == "v1"
    assert "crc64Nvme" not in document


@pytest.mark.parametrize("spelling", ["crc64nvme", "crc64Nvme"])
def test_both_spellings_of_the_checksum_are_read(spelling: str) -> None:
    document = json.loads(ARTIFACT.model_dump_json(by_alias=True))
    document[spelling] = document.pop("crc64nvme")
    assert Artifact.model_validate_json(json.dumps(document)) == ARTIFACT


FACTS: dict[str, Any] = {
    "pod": PodRef(namespace="shop", name="web-0", uid="u-1"),
    "requester": Requester(name="alice", attested=True),
    "reason": "odd traffic",
    "incident": "INC-7",
    "requested": (ArtifactKind.INSPECT, ArtifactKind.LOGS),
}
"""What a manifest tells of its order, and had beside it before the first release."""
STATEMENT = Statement(subject=(), predicate=of_order(capture(), **FACTS))


def document() -> dict[str, Any]:
    """Return the manifest as it is written now."""
    written: dict[str, Any] = json.loads(STATEMENT.to_bytes())
    return written


def parsed(manifest: dict[str, Any]) -> Statement:
    return Statement.from_bytes(json.dumps(manifest).encode())


def test_the_orders_facts_are_told_once_and_in_the_order() -> None:
    predicate = document()["predicate"]
    assert FACTS.keys() <= predicate["order"].keys()
    assert FACTS.keys().isdisjoint(predicate)
    assert parsed(document()) == STATEMENT


def test_a_manifest_with_the_facts_beside_the_order_is_read_alike() -> None:
    older = document()
    for name in FACTS:
        older["predicate"][name] = older["predicate"]["order"].pop(name)
    assert parsed(older) == STATEMENT


def test_facts_that_are_told_twice_may_agree() -> None:
    twice = document()
    twice["predicate"] |= {name: twice["predicate"]["order"][name] for name in FACTS}
    assert parsed(twice) == STATEMENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pod", None),
        ("pod", {"namespace": "shop", "name": "web-1", "uid": "u-1"}),
        ("requester", {"name": "alice", "attested": False}),
        ("reason", ""),
        ("incident", "INC-8"),
        ("requested", []),
    ],
)
def test_facts_that_are_told_twice_and_differ_are_refused(name: str, value: object) -> None:
    twice = document()
    twice["predicate"][name] = value
    with pytest.raises(VerificationError, match=f"'{name}' contradicts 'order.{name}'"):
        parsed(twice)


@pytest.mark.parametrize("order", [None, [], "x"])
def test_a_manifest_without_an_order_is_none_wherever_its_facts_are(order: object) -> None:
    older = document()
    older["predicate"] |= {"order": order, "incident": "INC-7"}
    with pytest.raises(VerificationError, match=r"predicate\.order"):
        parsed(older)


def test_code_that_still_gives_the_facts_beside_the_order_loses_none() -> None:
    given = dict(capture())
    assert Capture(**given, incident="").order.incident == ""  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="contradicts"):
        Capture(**given, incident="INC-7")  # type: ignore[call-arg]


def test_the_kept_bundle_of_the_older_form_says_whose_it_is() -> None:
    kept = Path(__file__).parents[2] / "fixtures/bundles/facts-beside-the-order/manifest.json"
    assert "pod" not in json.loads(kept.read_bytes())["predicate"]["order"]
    order = Statement.from_bytes(kept.read_bytes()).predicate.order
    assert order.pod is not None and order.pod.name == "web-0"
    assert order.requester == Requester(name="alice@example.com", attested=True)
    assert (order.reason, order.incident, order.attempt) == ("odd traffic", "INC-7", 2)
    assert ArtifactKind.INSPECT in order.requested
