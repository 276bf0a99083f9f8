"""Which pods are meant, by labels, owner, node or image; and which were found, dying ones first.

query = PodQuery(namespace="shop", selector="app=web")
selection = Selection.of(query, pods, namespaces={"shop": len(pods)})
selection.check()  # raises NotFound for none, TooManyPods for more than the limit
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from forensics_core.api.urgency import Urgency, state_of, urgency_of
from forensics_core.errors import NotFound, TooManyPods, UsageError

LIMIT = 200
"""Pods that one request captures unless it says otherwise."""
_DIGEST = re.compile(r"(?:.*@)?sha256:([0-9a-f]{12,64})", re.DOTALL)
_KINDS = {
    "cj": "cronjob",
    "deploy": "deployment",
    "ds": "daemonset",
    "rc": "replicationcontroller",
    "rs": "replicaset",
    "sts": "statefulset",
}
"""What kubectl calls some kinds in short."""
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class PodQuery:
    """Which pods are meant; all that is given has to hold. Raises `UsageError` if nothing is."""

    namespace: str | None = None
    """None: every namespace."""
    selector: str = ""
    """A label selector, as kubectl takes it: `app=web,tier!=db`."""
    owner: str = ""
    """`KIND/NAME` of what made them, be it through a ReplicaSet or a Job: `deployment/web`."""
    node: str = ""
    """The name of the node that they run on."""
    image: str = ""
    """Of any container: a digest, `sha256:` and 12 digits or more, or a reference as written."""
    every: bool = False
    """All pods there are: nothing else need be given."""

    def __post_init__(self) -> None:
        """Refuse what would mean every pod without saying so."""
        if not (self.selector or self.owner or self.node or self.image or self.every):
            raise UsageError(
                "Nothing says which pods are meant",
                hint="Name labels, an owner, a node or an image, or say that all are meant",
            )
        if self.owner and not all(self.owner_parts):
            raise UsageError(
                f"'{self.owner}' names no owner", hint="Say KIND/NAME, such as deployment/web"
            )
        if "sha256:" in self.image and not _DIGEST.fullmatch(self.image):
            raise UsageError(
                f"'{self.image}' is no digest of an image",
                hint="Say sha256: and 12 hexadecimal digits or more, or the image as it is written",
            )

    @property
    def owner_parts(self) -> tuple[str, str]:
        """The owner's kind in small letters, in the singular, and its name."""
        kind, _, name = self.owner.partition("/")
        # As kubectl takes it: `deployments.apps/web`.
        kind = kind.lower().partition(".")[0]
        return _KINDS.get(kind, kind.removesuffix("s")), name

    def of_image(self, pod: Mapping[str, Any]) -> bool:
        """Whether any container of the pod has the image that is meant."""
        if not self.image:
            return True
        digest = _DIGEST.fullmatch(self.image)
        if digest is None:
            return self.image in set(_images(pod))
        start = f"sha256:{digest[1]}"
        return any(f"@{start}" in f"@{image}" for image in (*_images(pod), *_image_ids(pod)))

    def __str__(self) -> str:
        """Return it as messages call it: `app=web in shop`."""
        parts = [
            self.selector,
            self.owner,
            f"on node {self.node}" if self.node else "",
            f"of image {self.image}" if self.image else "",
        ]
        what = ", ".join(part for part in parts if part) or "all pods"
        return f"{what} in {self.namespace or 'all namespaces'}"


@dataclass(frozen=True, slots=True)
class SelectedPod:
    """A pod that was found. Its names are the cluster's, its state is the node's word."""

    namespace: str
    name: str
    uid: str
    node: str = ""
    """Empty: it has none yet."""
    state: str = ""
    """As kubectl shows it: `Running`, `Terminating`, `CrashLoopBackOff`."""
    urgency: Urgency = Urgency.REST
    """How soon its traces may be gone."""
    owner: str = ""
    """`KIND/NAME` of its controller, such as `ReplicaSet/web-6d4cf56db6`."""
    images: tuple[str, ...] = ()
    """Of its containers, as the pod's spec has them."""

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> SelectedPod:
        """Read a pod as the API server sends it."""
        metadata, spec = pod["metadata"], pod.get("spec") or {}
        owner = controller_of(pod)
        return cls(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            node=spec.get("nodeName") or "",
            state=state_of(pod),
            urgency=urgency_of(pod),
            owner=f"{owner['kind']}/{owner['name']}" if owner else "",
            images=tuple(dict.fromkeys(_images(pod))),
        )

    def __str__(self) -> str:
        """Return it as messages call it: `shop/web-0`."""
        return f"{self.namespace}/{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"urgency": self.urgency.name.lower(), "images": list(self.images)}


@dataclass(frozen=True, slots=True)
class Selection:
    """The pods that a query found, the most urgent first."""

    query: PodQuery
    pods: tuple[SelectedPod, ...]
    """`limit` at most."""
    total: int
    """How many there are."""
    limit: int = LIMIT
    namespaces: Mapping[str, int] = field(default_factory=dict)
    """How many there are in each namespace."""

    @classmethod
    def of(
        cls,
        query: PodQuery,
        pods: Iterable[SelectedPod],
        *,
        namespaces: Mapping[str, int],
        limit: int = LIMIT,
    ) -> Selection:
        """Put the pods in order: dying ones, then crash-looping ones, then the rest, by name."""
        ordered = sorted(pods, key=lambda pod: (pod.urgency, pod.namespace, pod.name))
        total = sum(namespaces.values())
        return cls(query, tuple(ordered[:limit]), total, limit, dict(namespaces))

    @property
    def too_many(self) -> bool:
        """Whether there are more than the limit, so that `pods` are not all of them."""
        return self.total > self.limit

    def check(self) -> None:
        """Raise `NotFound` if there are none, `TooManyPods` if there are more than the limit."""
        if not self.total:
            hint = "Check labels and names"
            hint += ", and the namespace" if self.query.namespace else ""
            raise NotFound(f"No pod matches: {self.query}", hint=hint)
        if self.too_many:
            most = sorted(self.namespaces.items(), key=lambda each: (-each[1], each[0]))
            shown = ", ".join(f"{count} in {name}" for name, count in most[:3])
            more = f", and more in {len(most) - 3} other namespaces" if most[3:] else ""
            raise TooManyPods(
                f"{self.total:,} pods match ({shown}{more}), more than the limit of "
                f"{self.limit:,}: none of them is captured",
                hint="Narrow it by labels, owner, node, image or namespace, or raise the limit",
            )


def controller_of(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the owner reference of what controls an object, or None."""
    references = item["metadata"].get("ownerReferences") or ()
    return next((one for one in references if one.get("controller")), None)


def _images(pod: Mapping[str, Any]) -> Iterator[str]:
    spec = pod.get("spec") or {}
    for group in _CONTAINERS:
        yield from (one.get("image") or "" for one in spec.get(group) or ())


def _image_ids(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield the digests that the node reports: of the image, or of its configuration."""
    status = pod.get("status") or {}
    for group in _STATUSES:
        for one in status.get(group) or ():
            yield one.get("imageID") or ""
