"""The resources that are served: built-in ones, and those that CustomResourceDefinitions add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forensics_loopback.kinds.objects import Obj, name_of

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


@dataclass(frozen=True, slots=True)
class ServedResource:
    """One kind of object under one group and version."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    """Whether there is a status subresource."""
    generation: bool = False
    """Whether `metadata.generation` is kept."""
    subresources: tuple[str, ...] = ()
    """Others than the status."""
    verbs: tuple[str, ...] = _VERBS
    singular: str = ""
    custom: bool = False
    schema: Obj | None = None
    """The structural schema of a custom resource."""
    columns: tuple[Obj, ...] = ()
    """The `additionalPrinterColumns` of a custom resource."""
    stored_as: str | None = None
    """The group that stores it, where it is another view of the same objects: events."""

    @property
    def api_version(self) -> str:
        """Group and version as objects spell them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage_group(self) -> str:
        """The group under which the objects are stored."""
        return self.group if self.stored_as is None else self.stored_as

    @property
    def qualified(self) -> str:
        """Plural and group: `jobs.batch`, `pods`. It is the store's key as well."""
        return f"{self.plural}.{self.storage_group}" if self.storage_group else self.plural

    @property
    def qualified_kind(self) -> str:
        """Kind and group: `Job.batch`, `Secret`."""
        return f"{self.kind}.{self.storage_group}" if self.storage_group else self.kind

    @property
    def singular_name(self) -> str:
        """The lower-case singular."""
        return self.singular or self.kind.lower()


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """The object that a request is about."""

    resource: ServedResource
    namespace: str
    name: str
    subresource: str = ""


def _builtin(
    group_version: str, plural: str, kind: str, *traits: str, **more: Any
) -> ServedResource:
    group, _, version = group_version.rpartition("/")
    return ServedResource(
        group,
        version,
        plural,
        kind,
        namespaced="cluster" not in traits,
        status="status" in traits,
        generation="generation" in traits,
        categories=("all",) if "all" in traits else (),
        **more,
    )


_REVIEW: Any = {"verbs": ("create",)}
_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"

BUILTINS: tuple[ServedResource, ...] = (
    _builtin("v1", "namespaces", "Namespace", "cluster", "status", short_names=("ns",)),
    _builtin("v1", "nodes", "Node", "cluster", "status", short_names=("no",)),
    _builtin(
        "v1",
        "pods",
        "Pod",
        "status",
        "generation",
        "all",
        short_names=("po",),
        subresources=("log", "eviction", "binding"),
    ),
    _builtin("v1", "secrets", "Secret"),
    _builtin("v1", "configmaps", "ConfigMap", short_names=("cm",)),
    _builtin("v1", "serviceaccounts", "ServiceAccount", short_names=("sa",)),
    _builtin("v1", "services", "Service", "status", "all", short_names=("svc",)),
    _builtin("v1", "endpoints", "Endpoints", short_names=("ep",)),
    _builtin("v1", "events", "Event", short_names=("ev",)),
    _builtin("v1", "persistentvolumeclaims", "PersistentVolumeClaim", "status"),
    _builtin("v1", "persistentvolumes", "PersistentVolume", "cluster", "status"),
    _builtin("v1", "resourcequotas", "ResourceQuota", "status"),
    _builtin("v1", "limitranges", "LimitRange"),
    _builtin("v1", "replicationcontrollers", "ReplicationController", "status", "generation"),
    _builtin("apps/v1", "deployments", "Deployment", "status", "generation", "all"),
    _builtin("apps/v1", "replicasets", "ReplicaSet", "status", "generation", "all"),
    _builtin("apps/v1", "statefulsets", "StatefulSet", "status", "generation", "all"),
    _builtin("apps/v1", "daemonsets", "DaemonSet", "status", "generation", "all"),
    _builtin("batch/v1", "jobs", "Job", "status", "generation", "all"),
    _builtin("batch/v1", "cronjobs", "CronJob", "status", "generation", "all", short_names=("cj",)),
    _builtin("coordination.k8s.io/v1", "leases", "Lease"),
    _builtin("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _builtin("events.k8s.io/v1", "events", "Event", short_names=("ev",), stored_as=""),
    _builtin("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", "generation"),
    _builtin("networking.k8s.io/v1", "ingresses", "Ingress", "status", "generation"),
    _builtin("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", "status", "generation"),
    _builtin("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", "cluster"),
    _builtin("storage.k8s.io/v1", "storageclasses", "StorageClass", "cluster"),
    _builtin("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", "cluster"),
    _builtin(_RBAC, "roles", "Role"),
    _builtin(_RBAC, "rolebindings", "RoleBinding"),
    _builtin(_RBAC, "clusterroles", "ClusterRole", "cluster"),
    _builtin(_RBAC, "clusterrolebindings", "ClusterRoleBinding", "cluster"),
    _builtin(
        _ADMISSION,
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        "cluster",
        "generation",
    ),
    _builtin(
        _ADMISSION,
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        "cluster",
    ),
    _builtin(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "cluster",
        "status",
        "generation",
        short_names=("crd", "crds"),
    ),
    _builtin(
        "authentication.k8s.io/v1",
        "selfsubjectreviews",
        "SelfSubjectReview",
        "cluster",
        **_REVIEW,
    ),
    _builtin(
        "authorization.k8s.io/v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "cluster",
        **_REVIEW,
    ),
    _builtin(
        "authorization.k8s.io/v1",
        "subjectaccessreviews",
        "SubjectAccessReview",
        "cluster",
        **_REVIEW,
    ),
    _builtin(
        "authorization.k8s.io/v1",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        **_REVIEW,
    ),
)


def resources_of(definition: Obj) -> Iterator[ServedResource]:
    """The resources that a CustomResourceDefinition declares, one for each served version."""
    spec = definition["spec"]
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served", False):
            continue
        subresources = version.get("subresources") or {}
        yield ServedResource(
            spec["group"],
            version["name"],
            names["plural"],
            names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            status="status" in subresources,
            generation=True,
            verbs=_CUSTOM_VERBS,
            singular=names.get("singular", ""),
            custom=True,
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )


class Registry:
    """What is served right now."""

    def __init__(self) -> None:
        ordered = sorted(BUILTINS, key=lambda r: (r.group, r.version, r.plural))
        self._resources = {(r.group, r.version, r.plural): r for r in ordered}

    def __iter__(self) -> Iterator[ServedResource]:
        return iter(self._resources.values())

    def find(self, group: str, version: str, plural: str) -> ServedResource | None:
        """The resource at that place of the URL, or None."""
        return self._resources.get((group, version, plural))

    def of(self, obj: Obj) -> ServedResource:
        """The resource of an object, by its apiVersion and kind; raises LookupError."""
        wanted = (obj.get("apiVersion"), obj.get("kind"))
        for resource in self:
            if (resource.api_version, resource.kind) == wanted:
                return resource
        raise LookupError(f"no matches for kind {wanted[1]!r} in version {wanted[0]!r}")

    def named(self, name: str) -> ServedResource:
        """The resource of a plural name, with its group or without; raises LookupError."""
        for resource in self:
            if name in (resource.qualified, resource.plural):
                return resource
        raise LookupError(f"no resource is named {name!r}")

    def define(self, definition: Obj) -> None:
        """Serve what a CustomResourceDefinition declares, in place of what it declared before."""
        self.withdraw(definition)
        for resource in resources_of(definition):
            self._resources[resource.group, resource.version, resource.plural] = resource

    def withdraw(self, definition: Obj) -> None:
        """Serve no longer what that CustomResourceDefinition declared."""
        name = name_of(definition)
        gone = [key for key, r in self._resources.items() if r.custom and r.qualified == name]
        for key in gone:
            del self._resources[key]
