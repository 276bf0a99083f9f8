"""Pods and rules for tests of decisions, and any number of them for property tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from forensics_core.api.capturerule import CaptureRule
from forensics_core.operator.containment.policy import as_it_was
from forensics_core.operator.rules.facts import PodFacts, facts_of
from forensics_core.operator.rules.outcomes import ActiveRule

NOW = 1_800_000_000.0
"""Seconds since 1970."""
Document = dict[str, Any]


def at(seconds: float) -> str:
    """Return a time of the API, so many seconds from now."""
    moment = datetime.fromtimestamp(NOW + seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def container(name: str = "app", **status: Any) -> Document:
    """Return the status of a container that runs."""
    return {
        "name": name,
        "image": f"{name}:1",
        "containerID": f"containerd://{name}4f2a6d5c1",
        "restartCount": 0,
        "state": {"running": {}},
        **status,
    }


def terminated(reason: str = "Error", code: int = 1, when: float = 0) -> Document:
    """Return how a container ended, so many seconds from now."""
    return {"terminated": {"reason": reason, "exitCode": code, "finishedAt": at(when)}}


def looping(restarts: int = 3, when: float = 0) -> Document:
    """Return the status of a container that waits after a crash."""
    return container(
        restartCount=restarts,
        state={"waiting": {"reason": "CrashLoopBackOff"}},
        lastState=terminated(when=when),
    )


def pod(
    name: str = "web-0",
    *containers: Document,
    uid: str = "",
    metadata: Document | None = None,
    **status: Any,
) -> PodFacts:
    """Return the facts of a pod in the namespace `shop`, as the controller makes them."""
    own = {"name": name, "namespace": "shop", "uid": uid or f"uid-{name}", **(metadata or {})}
    statuses = list(containers) or [container()]
    found = {
        "metadata": own,
        "status": {"phase": "Running", "containerStatuses": statuses, **status},
    }
    return facts_of(as_it_was(found))


def rule(name: str = "dying", *events: str, since: float = -600, **spec: Any) -> ActiveRule:
    """Return a rule that is as it is for ten minutes."""
    made = CaptureRule.parse(
        {
            "metadata": {
                "name": name,
                "namespace": "forensics-system",
                "uid": f"rule-{name}",
                "generation": 1,
                "creationTimestamp": at(since),
            },
            "spec": {"namespaces": ["shop"], "events": events or ["CrashLoop"], **spec},
        }
    )
    return ActiveRule(made, NOW + since)


def _owned(owner: str) -> Document:
    reference = {"kind": "Job", "name": owner, "controller": True}
    return {"ownerReferences": [reference]} if owner else {}


def pods() -> st.SearchStrategy[PodFacts]:
    """Return a few pods in any state that rules know."""
    states = st.sampled_from(
        [
            container(),
            looping(3),
            looping(4),
            container(state=terminated("OOMKilled", 137)),
            container(restartCount=1, lastState=terminated("OOMKilled", 137, -5)),
            container(containerID=""),
        ]
    )
    annotation = st.sampled_from([{}, {"forensics.orkaproj.io/capture": "odd"}])
    ending = st.sampled_from([{}, {"deletionTimestamp": at(30), "deletionGracePeriodSeconds": 30}])
    return st.builds(
        lambda name, state, words, end, owner, phase: pod(
            name, state, metadata={"annotations": words, **end, **_owned(owner)}, phase=phase
        ),
        st.sampled_from([f"web-{number}" for number in range(6)]),
        states,
        annotation,
        ending,
        st.sampled_from(["", "job", "batch"]),
        st.sampled_from(["Running", "Failed"]),
    )


def rules() -> st.SearchStrategy[list[ActiveRule]]:
    """Return up to three rules with any limits."""
    events = st.lists(
        st.sampled_from(["Annotated", "CrashLoop", "OOMKilled", "Failed", "Deleted"]),
        min_size=1,
        unique=True,
    )
    limits = st.builds(
        lambda pods, hour: {"perPod": pods, "perHour": hour}, st.integers(1, 3), st.integers(1, 5)
    )
    one = st.tuples(events, limits, st.sampled_from([0, 60, 3600]), st.booleans())
    return st.lists(one, min_size=1, max_size=3).map(
        lambda drawn: [
            rule(f"rule-{number}", *happen, limits=limit, dedupeSeconds=dedupe, dryRun=dry)
            for number, (happen, limit, dedupe, dry) in enumerate(drawn)
        ]
    )
