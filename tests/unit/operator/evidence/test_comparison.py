"""A manifest that a node wrote, against the order that the operator wrote."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forensics_core.api.order import (
    ArtifactKind,
    ContainerTarget,
    ContextFile,
    PodRef,
    Requester,
    WorkOrder,
)
from forensics_core.bundle.layout import MAIN_ARTIFACTS
from forensics_core.bundle.manifest import (
    Artifact,
    Capture,
    Container,
    DigestSet,
    Node,
    NotCaptured,
    OrderFacts,
    Statement,
    Subject,
    Tool,
)
from forensics_core.bundle.writer import checksums
from forensics_core.operator.evidence.comparison import disagreements, untimely
from tests.unit.operator.samples import NOW, POD_UID, UID

DIGEST, OTHER = "a" * 64, "b" * 64
FILE = ContextFile(name="context/pod.yaml", sha256=DIGEST, size=1, captured_at=datetime.now(UTC))
ORDER = WorkOrder(
    destination="s3://cases",
    bundle="forensics/x-1",
    uid=UID,  # type: ignore[arg-type] # pydantic reads it
    pod=PodRef(namespace="default", name="web-0", uid=POD_UID),
    targets=(ContainerTarget(name="app", container_id="containerd://abc"),),
    requester=Requester(name="alice", attested=True),
    reason="odd traffic",
    incident="INC-7",
    context=(FILE,),
    not_captured=("context/node.json: Forbidden.",),
)


KINDS = [kind for kind in ORDER.artifacts if kind is not ArtifactKind.CONTEXT]
NOT_GATHERED = NotCaptured(
    what="context", reason="NotGathered", message="context/node.json: Forbidden."
)


def artifact(kind: ArtifactKind, container: str = "app", folder: str = "app") -> Artifact:
    """Return the row of what was captured of one kind."""
    return Artifact(
        name=f"containers/{folder}/{MAIN_ARTIFACTS[kind][0]}" + ("0.log" if kind == "logs" else ""),
        kind=kind,
        container=container,
        sha256=DIGEST,
        size=1,
        original_sha256=DIGEST,
        original_size=1,
        started_at=NOW,
        finished_at=NOW,
        seconds=0,
    )


def all_but(kind: ArtifactKind) -> tuple[Artifact, ...]:
    """Return the rows of everything else."""
    return tuple(artifact(each) for each in KINDS if each is not kind)


def gap(what: str, reason: str = "Gone", *, requested: bool = True) -> NotCaptured:
    """Return a gap of the container."""
    return NotCaptured(what=what, container="app", reason=reason, message="m", requested=requested)


def statement(order: dict[str, Any] | None = None, **changes: Any) -> Statement:
    """Return the manifest that an honest collector writes, but for the changes."""
    said: dict[str, Any] = {
        "uid": ORDER.uid,
        "attempt": 1,
        "sha256": DIGEST,
        "destination": "s3://cases",
        "bundle": "forensics/x-1",
        "pod": ORDER.pod,
        "requester": ORDER.requester,
        "reason": ORDER.reason,
        "incident": ORDER.incident,
        "requested": ORDER.artifacts,
    }
    values: dict[str, Any] = {
        "order": OrderFacts(**(said | (order or {}))),
        "tool": Tool(version="test"),
        "node": Node(hostname="node1"),
        "started_at": NOW,
        "finished_at": NOW,
        "containers": (Container(name="app", container_id="containerd://abc"),),
        "artifacts": tuple(artifact(kind) for kind in KINDS),
        "not_captured": (NOT_GATHERED,),
    }
    capture = Capture(**(values | changes))
    digests = dict.fromkeys((FILE.name, *(one.name for one in capture.artifacts)), DIGEST)
    return Statement(subject=subjects(digests), predicate=capture)


def subjects(digests: dict[str, str]) -> tuple[Subject, ...]:
    """Return the subjects, with the checksums of all of them."""
    listed = {"SHA256SUMS": hashlib.sha256(checksums(digests)).hexdigest()}
    return tuple(
        Subject(name=name, digest=DigestSet(sha256=sha256))
        for name, sha256 in (listed | digests).items()
    )


def test_nothing_at_all_is_not_everything() -> None:
    gaps = tuple(gap(kind, "NotRunning", requested=False) for kind in KINDS)
    empty = statement(artifacts=(), not_captured=(NOT_GATHERED, *gaps))
    wrong = " ".join(disagreements(empty, ORDER, DIGEST))
    for kind in ("inspect", "diff", "filesystem", "logs"):
        assert f"nothing of the {kind} of the container app" in wrong


@pytest.mark.parametrize(
    ("field", "time"),
    [
        ("started_at", datetime(1999, 1, 1, tzinfo=UTC)),
        ("finished_at", NOW + timedelta(days=2)),
        ("finished_at", datetime(2026, 8, 1)),
    ],
)
def test_times_lie_within_the_attempt(field: str, time: datetime) -> None:
    begin, end = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    capture = statement().predicate
    assert list(untimely(capture, begin, end)) == []
    assert len(list(untimely(capture.model_copy(update={field: time}), begin, end))) == 1
    late = capture.artifacts[0].model_copy(update={field: time})
    (wrong,) = untimely(capture.model_copy(update={"artifacts": (late,)}), begin, end)
    assert wrong.startswith("containers/app/inspect.json, ") and "not within the attempt" in wrong


def test_an_honest_manifest_agrees() -> None:
    assert list(disagreements(statement(), ORDER, DIGEST)) == []


def test_an_honest_manifest_of_an_older_collector_agrees() -> None:
    document = json.loads(statement().to_bytes())
    for name in ("pod", "requester", "reason", "incident", "requested"):
        document["predicate"][name] = document["predicate"]["order"].pop(name)
    older = Statement.from_bytes(json.dumps(document).encode())
    assert list(disagreements(older, ORDER, DIGEST)) == []


def of_node(container: str | None) -> Artifact:
    """Return the row of what the node said of its kernel."""
    row = artifact(ArtifactKind.PROCESSES)
    return row.model_copy(update={"name": "node/kernel.json", "container": container})


def test_files_of_the_node_are_of_no_container() -> None:
    honest = tuple(artifact(kind) for kind in KINDS)
    untold = NotCaptured(what="node/ebpf.json", reason="NotPermitted", message="m", requested=False)
    told = statement(artifacts=(*honest, of_node(None)), not_captured=(NOT_GATHERED, untold))
    assert list(disagreements(told, ORDER, DIGEST)) == []
    (wrong,) = disagreements(statement(artifacts=(*honest, of_node("app"))), ORDER, DIGEST)
    assert "is not in the folder of the container" in wrong


def test_files_of_the_node_do_not_stand_for_a_containers_processes() -> None:
    others = all_but(ArtifactKind.PROCESSES)
    untold = NotCaptured(what="node/kernel.json", reason="Gone", message="m")
    told = statement(artifacts=(*others, of_node(None)), not_captured=(NOT_GATHERED, untold))
    (wrong,) = disagreements(told, ORDER, DIGEST)
    assert wrong == "it says nothing of the processes of the container app"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"order": {"uid": "00000000-0000-4000-8000-000000000000"}}, "order.uid differs"),
        ({"order": {"attempt": 2}}, "order.attempt differs"),
        ({"order": {"sha256": OTHER}}, "order.sha256 differs"),
        ({"order": {"destination": "s3://elsewhere"}}, "order.destination differs"),
        ({"order": {"bundle": "forensics/y-1"}}, "order.bundle differs"),
        (
            {"order": {"pod": PodRef(namespace="default", name="web-0", uid="another")}},
            "pod differs",
        ),
        ({"order": {"requester": None}}, "requester differs"),
        ({"order": {"requester": Requester(name="alice")}}, "requester differs"),
        ({"order": {"reason": ""}}, "reason differs"),
        ({"order": {"incident": "INC-8"}}, "incident differs"),
        ({"containers": ()}, "nothing is said of the container app"),
        ({"order": {"requested": KINDS}}, "requested differs"),
        ({"not_captured": ()}, "could not gather: context/node.json: Forbidden."),
        (
            {"not_captured": (NOT_GATHERED.model_copy(update={"requested": False}),)},
            "could not gather",
        ),
        *[
            ({"artifacts": all_but(kind)}, f"nothing of the {kind} of the container app")
            for kind in KINDS
        ],
        (
            {"artifacts": (*all_but(KINDS[0]), artifact(KINDS[0], folder="other"))},
            f"nothing of the {KINDS[0]}",
        ),
        *[
            (
                {
                    "artifacts": all_but(kind),
                    "not_captured": (NOT_GATHERED, gap(kind, reason, requested=False)),
                },
                f"nothing of the {kind}",
            )
            for kind, reason in (
                (ArtifactKind.DIFF, "Gone"),
                (ArtifactKind.FILESYSTEM, "NotRunning"),
                (ArtifactKind.INSPECT, "NoLog"),
                (ArtifactKind.LOGS, "NotRunning"),
                (ArtifactKind.PROCESSES, "NoLog"),
            )
        ],
        *[
            (
                {"artifacts": (*all_but(kind), artifact(kind).model_copy(update=changes))},
                f"nothing of the {kind}",
            )
            for kind, changes in (
                (ArtifactKind.FILESYSTEM, {"original_size": 0, "size": 0}),
                (ArtifactKind.FILESYSTEM, {"name": "containers/app/rootfs.index.jsonl.zst"}),
                (ArtifactKind.DIFF, {"name": "containers/app/other.json"}),
                (ArtifactKind.INSPECT, {"name": "containers/appendix/inspect.json"}),
            )
        ],
    ],
)
def test_each_difference_is_named(changes: Any, found: str) -> None:
    wrong = list(disagreements(statement(**changes), ORDER, DIGEST))
    # An artifact in another container's folder is named for that, too.
    (told,) = [why for why in wrong if "is not in the folder" not in why]
    assert found in told


LACKING = [
    (ArtifactKind.FILESYSTEM, gap("filesystem", "NotSupported")),
    (ArtifactKind.LOGS, gap("logs, stdout")),
    (ArtifactKind.LOGS, gap("logs", "NoLog", requested=False)),
    (ArtifactKind.VOLUMES, gap("volumes", "NoVolume", requested=False)),
    (ArtifactKind.VOLUMES, gap("volumes", "Withheld", requested=False)),
    (ArtifactKind.PROCESSES, gap("processes", "NotRunning", requested=False)),
    (ArtifactKind.NETWORK, gap("network", "NotRunning", requested=False)),
    (ArtifactKind.DIFF, gap("container")),
    (ArtifactKind.INSPECT, NotCaptured(what="inspect", reason="NotSupported", message="m")),
]


@pytest.mark.parametrize(("kind", "gap"), LACKING, ids=lambda it: getattr(it, "reason", it))
def test_what_is_missing_and_said_to_be_is_no_disagreement(
    kind: ArtifactKind, gap: NotCaptured
) -> None:
    honest = statement(artifacts=all_but(kind), not_captured=(NOT_GATHERED, gap))
    assert list(disagreements(honest, ORDER, DIGEST)) == []


@pytest.mark.parametrize(
    ("name", "container_id"), [("spy", "containerd://spy"), ("spy", "containerd://abc")]
)
def test_a_container_that_nobody_ordered_is_named(name: str, container_id: str) -> None:
    own = Container(name="app", container_id="containerd://abc")
    both = (own, Container(name=name, container_id=container_id))
    (wrong,) = disagreements(statement(containers=both), ORDER, DIGEST)
    assert wrong == f"the container spy, {container_id}, was not ordered"


def test_checksums_that_are_not_told_are_missed() -> None:
    whole = statement()
    subject = tuple(each for each in whole.subject if each.name != "SHA256SUMS")
    altered = whole.model_copy(update={"subject": subject})
    assert list(disagreements(altered, ORDER, DIGEST)) == ["SHA256SUMS is not among the subjects"]


@pytest.mark.parametrize(
    "subject", [(), (Subject(name=FILE.name, digest=DigestSet(sha256=OTHER)),)]
)
def test_the_context_is_what_the_operator_stored(subject: tuple[Subject, ...]) -> None:
    altered = statement().model_copy(update={"subject": subject})
    assert "context/pod.yaml differs from what the operator stored" in list(
        disagreements(altered, ORDER, DIGEST)
    )


def test_a_manifest_that_contradicts_itself_is_found_out() -> None:
    stray = Subject(name="../../etc/passwd", digest=DigestSet(sha256=OTHER))
    altered = statement().model_copy(update={"subject": (*statement().subject, stray)})
    assert any("etc/passwd" in wrong for wrong in disagreements(altered, ORDER, DIGEST))
