"""May somebody do something? Asked of the cluster, by SubjectAccessReview.

A review without the user's groups is wrong for everyone who has rights by group, so the groups are
not optional::

    verdict = await allowed(cluster, "alice", ["team-ir"], Action("create", PODS, "prod", "exec"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forensics_core.errors import ClusterError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Objects
from forensics_core.kube.resources import (
    ACCESS_REVIEWS,
    OWN_ACCESS_REVIEWS,
    OWN_IDENTITY,
    Resource,
)


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A verb on a kind of objects."""

    verb: str
    resource: Resource
    namespace: str = ""
    """Empty: all namespaces."""
    subresource: str = ""
    name: str = ""
    """Empty: all objects."""

    def attributes(self) -> dict[str, str]:
        """Return the action as `resourceAttributes`."""
        given = {
            "verb": self.verb,
            "group": self.resource.group,
            "resource": self.resource.plural,
            "namespace": self.namespace,
            "subresource": self.subresource,
            "name": self.name,
        }
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class AccessVerdict:
    """What the cluster says."""

    allowed: bool
    reason: str = ""
    """Why, where the authorizer tells."""


async def allowed(
    cluster: ClusterConnection,
    user: str,
    groups: Sequence[str],
    action: AccessRequest,
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
) -> AccessVerdict:
    """Ask whether `user`, a member of `groups`, may do it.

    Errors are those of `ClusterConnection.request`.
    """
    spec: dict[str, Any] = {"user": user, "groups": list(groups)}
    if extra:
        spec["extra"] = {key: list(values) for key, values in extra.items()}
    reviews = Objects(cluster, ACCESS_REVIEWS)
    return await _review(reviews, spec | {"resourceAttributes": action.attributes()})


async def allowed_to_me(cluster: ClusterConnection, action: AccessRequest) -> AccessVerdict:
    """Ask whether the connection's own identity may do it."""
    reviews = Objects(cluster, OWN_ACCESS_REVIEWS)
    return await _review(reviews, {"resourceAttributes": action.attributes()})


async def _review(reviews: Objects, spec: dict[str, Any]) -> AccessVerdict:
    answer = await reviews.create({"metadata": {}, "spec": spec})
    status = answer.get("status", {})
    granted = status.get("allowed") is True and status.get("denied") is not True
    return AccessVerdict(granted, status.get("reason") or status.get("evaluationError") or "")


async def own_name(cluster: ClusterConnection) -> str:
    """Return the user name that the cluster knows this connection by; empty if it does not say."""
    try:
        answer = await Objects(cluster, OWN_IDENTITY).create({"metadata": {}})
        return str(answer["status"]["userInfo"]["username"])
    except (ClusterError, KeyError, TypeError):
        return ""
