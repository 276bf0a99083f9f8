"""What a hostile node may write into a manifest that has the right form: each is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Artifact, NotCaptured, Statement
from forensics_core.bundle.seal import generate_key
from forensics_core.bundle.versions import history_of
from forensics_core.errors import TooManyObjects, VerificationError
from forensics_core.operator.attempt.pods import outcome
from forensics_core.operator.decide.attempt import refusal
from forensics_core.operator.evidence.comparison import disagreements, nothing_of
from forensics_core.operator.evidence.manifest import Manifests, UnreadableManifest
from forensics_core.operator.evidence.seal import check_seal
from tests.unit.bundle.test_versions import Versions
from tests.unit.operator.evidence.test_comparison import (
    DIGEST,
    KINDS,
    ORDER,
    OTHER,
    artifact,
    gap,
    statement,
    subjects,
)


def named(**digests: str) -> Statement:
    """Return an honest manifest with other subjects as well, or other digests of them."""
    honest = statement()
    known = {one.name: one.digest.sha256 for one in honest.subject if one.name != "SHA256SUMS"}
    return honest.model_copy(update={"subject": subjects(known | digests)})


def problems(said: Statement) -> str:
    return " ".join(disagreements(said, ORDER, DIGEST))


@pytest.mark.parametrize("name", ["context/node.json", "context/forged.yaml", "context/a/b"])
def test_a_node_adds_nothing_to_what_the_cluster_said(name: str) -> None:
    assert f"{name} was not stored by the operator" in problems(named(**{name: OTHER}))


def test_a_node_does_not_call_an_artifact_of_its_own_context() -> None:
    own = artifact(ArtifactKind.INSPECT).model_copy(
        update={"name": "context/node.json", "kind": ArtifactKind.CONTEXT, "container": None}
    )
    said = statement(artifacts=(*(artifact(kind) for kind in KINDS), own))
    assert "context/node.json was not stored by the operator" in problems(said)


def test_the_order_in_the_bundle_is_the_one_that_was_given() -> None:
    row = artifact(ArtifactKind.INSPECT).model_copy(
        update={"name": "order.json", "kind": ArtifactKind.CONTEXT, "container": None}
    )
    rows = (*(artifact(kind) for kind in KINDS), row)
    assert "order.json is not the order" not in problems(statement(artifacts=rows))
    another = row.model_copy(update={"sha256": OTHER, "original_sha256": OTHER})
    forged = statement(artifacts=(*rows[:-1], another))
    known = {one.name: one.digest.sha256 for one in forged.subject if one.name != "SHA256SUMS"}
    said = forged.model_copy(update={"subject": subjects(known | {"order.json": OTHER})})
    assert "order.json is not the order" in problems(said)


def test_the_checksums_list_exactly_the_subjects() -> None:
    honest = statement()
    digests = [one for one in honest.subject if one.name != "SHA256SUMS"]
    forged = next(iter(subjects({digests[0].name: DIGEST})))
    said = honest.model_copy(update={"subject": (forged, *digests)})
    assert "SHA256SUMS does not list the subjects" in problems(said)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"container": "spy"}, "of the container spy, which was not ordered"),
        ({"container": None}, "not in the folder of the container that it is of"),
        ({"name": "inspect.json"}, "not in the folder of the container that it is of"),
        ({"name": "containers/apple/x"}, "not in the folder of the container that it is of"),
        ({"name": "containers/app"}, "not in the folder of the container that it is of"),
    ],
)
def test_every_artifact_is_of_an_ordered_container_and_in_its_folder(
    changes: dict[str, str | None], why: str
) -> None:
    stray = artifact(ArtifactKind.INSPECT).model_copy(update={"name": "containers/app/x"} | changes)
    said = statement(artifacts=(*(artifact(kind) for kind in KINDS), stray))
    assert why in problems(said)


@pytest.mark.parametrize("version", ["x" * 1025, "a\r\nb", "a b", "é", "\x00"])
def test_a_version_that_no_store_gives_goes_into_no_request(version: str) -> None:
    row = artifact(ArtifactKind.INSPECT).model_copy(update={"version_id": version})
    data = statement(artifacts=(row,)).to_bytes()
    with pytest.raises(VerificationError, match="versionId"):
        Statement.from_bytes(data)


def test_a_version_without_a_name_is_none_for_all_readers() -> None:
    row = artifact(ArtifactKind.INSPECT).model_copy(update={"version_id": ""})
    read = Statement.from_bytes(statement(artifacts=(row,)).to_bytes())
    assert [one.version_id for one in read.predicate.artifacts] == [None]
    assert Artifact.model_validate(row.model_dump()).version_id is None


@pytest.mark.parametrize(
    "words", ["[" * 4096, '{"a":' * 2000, '{"reason":"X","n":1e999}', '{"reason":"X","n":NaN}', "{"]
)
def test_last_words_that_are_no_json_of_ours_are_none(words: str) -> None:
    ended = {"reason": "Error", "exitCode": 1, "message": words}
    collector_pod = {
        "metadata": {"uid": "1", "creationTimestamp": datetime.now(UTC).isoformat()},
        "status": {"containerStatuses": [{"name": "collector", "state": {"terminated": ended}}]},
    }
    assert outcome(None, collector_pod).message == "The collector ended with code 1 (Error)"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("containers/app/Inspect.json", "some file systems take it for"),
        ("containers/app/in\u017fpect.json", "some file systems take it for"),
        ("containers/app\\inspect.json", "leads out of the bundle"),
        ("containers/app/\x1b[2J", "leads out of the bundle"),
        ("containers/app/../../other", "leads out of the bundle"),
        ("/containers/app/x", "leads out of the bundle"),
        ("containers//app/x", "leads out of the bundle"),
    ],
)
def test_no_name_is_another_one_somewhere_else(name: str, why: str) -> None:
    stray = artifact(ArtifactKind.INSPECT).model_copy(update={"name": name})
    rows = (*(artifact(kind) for kind in KINDS), stray)
    assert why in problems(statement(artifacts=rows))


def explained(*gaps: NotCaptured, artifacts: tuple[Artifact, ...] = ()) -> list[str]:
    said = statement(artifacts=artifacts, not_captured=gaps)
    return nothing_of(said.predicate, ORDER)


def test_a_bundle_with_nothing_of_its_pod_is_no_capture_whatever_it_says() -> None:
    wrong = explained(gap("inspect", "Because"))
    assert wrong == ["it has nothing of any container: inspect (m)"]
    assert refusal(wrong, cancelled=False) == "NothingCaptured"
    assert refusal(wrong, cancelled=True) == "Cancelled"
    assert refusal(["pod differs from the order"], cancelled=True) == "NotSealed"
    order = artifact(ArtifactKind.INSPECT).model_copy(update={"container": None})
    assert explained(gap("inspect"), artifacts=(order,)) == wrong


def test_there_may_have_been_nothing_to_capture() -> None:
    assert explained(gap("processes", "NotRunning", requested=False)) == []
    assert explained(gap("diff"), artifacts=(artifact(ArtifactKind.INSPECT),)) == []


async def test_what_is_there_in_versions_without_end_is_neither_manifest_nor_seal() -> None:
    flooded = Versions(fails=TooManyObjects("there are more than 100000 objects"))
    with pytest.raises(TooManyObjects):
        await history_of(flooded, "manifest.json")
    private, _ = generate_key()
    with pytest.raises(VerificationError, match="more than"):
        await check_seal(flooded, b"{}", private)  # type: ignore[arg-type] # any store does
    with pytest.raises(UnreadableManifest, match="more than"):
        async with Manifests().find(flooded):
            pass
