"""How far an intruder could have come from the pod: what the cluster said of its surroundings.

`context/*.json` and `context/pod.yaml` are the operator's; a bundle made by hand has none. They may
hold anything a cluster's user wrote: nothing is taken for granted, and lists are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.context import MAX_ITEMS, containers, items, load_pod, part, strings
from forensics_core.readers.documents import load

_DEEP = frozenset({"*", "escalate", "bind", "impersonate"})
_WRITES = frozenset({"*", "create", "update", "patch", "delete"})
_POWERFUL = frozenset({"*", "secrets", "pods", "pods/exec", "nodes/proxy", "serviceaccounts/token"})


@dataclass(slots=True)
class Surroundings:
    """What there is around the pod, each as a line for people."""

    known: bool = False
    """Whether the bundle has anything of the cluster."""
    account: str = ""
    rights: list[str] = field(default_factory=list)
    """What the pod's service account may do, with the binding that says so."""
    powerful: list[str] = field(default_factory=list)
    """Those of them that lead further: secrets, other pods, rights for others."""
    secrets: list[str] = field(default_factory=list)
    """Names of the secrets that the pod mounts, has in its environment, or pulls with."""
    policies: list[str] = field(default_factory=list)
    """Network policies that select the pod, or that none does."""
    services: list[str] = field(default_factory=list)
    siblings: list[str] = field(default_factory=list)
    """What else runs the same image: controllers with their replicas, the image on the node."""
    pod: list[str] = field(default_factory=list)
    """What the pod's own specification lets it do on the node."""
    storage: list[str] = field(default_factory=list)
    """Names of the claims that it mounts."""


async def read_surroundings(bundle: BundleReader, missed: list[ForensicsError]) -> Surroundings:
    """Return what the bundle has of the cluster; what cannot be read is added to `missed`."""
    found = Surroundings(known=any(name.startswith("context/") for name in bundle.objects))
    documents: dict[str, Any] = {}
    for name in ("serviceaccount", "network", "images", "owners", "storage"):
        try:
            documents[name] = _dict(await load(bundle, f"context/{name}.json"), name)
        except ForensicsError as error:
            missed.append(error)
    try:
        pod = await load_pod(bundle)
    except ForensicsError as error:
        missed.append(error)
        pod = {}
    _fill(found, pod, documents)
    return found


def _dict(document: Any, name: str) -> dict[str, Any]:
    """Return an object; a list, as that of the owners, under its name."""
    if isinstance(document, dict):
        return document
    return {name: document} if isinstance(document, list) else {}


def _fill(found: Surroundings, pod: dict[str, Any], documents: dict[str, dict[str, Any]]) -> None:
    spec, labels = part(pod, "spec"), part(pod, "metadata", "labels")
    _account(found, documents.get("serviceaccount", {}))
    _network(found, documents.get("network", {}), labels)
    found.secrets = sorted(set(_secrets(spec)))[:MAX_ITEMS]
    found.pod = list(_node_access(spec))[:MAX_ITEMS]
    found.siblings = [
        *_owners(documents.get("owners", {})),
        *_images(documents.get("images", {})),
    ][:MAX_ITEMS]
    found.storage = [
        _name(claim) for claim in items(documents.get("storage", {}), "persistentVolumeClaims")
    ]


def _name(document: dict[str, Any]) -> str:
    name = part(document, "metadata").get("name") or part(document, "gone").get("name")
    return name if isinstance(name, str) else "?"


def _account(found: Surroundings, document: dict[str, Any]) -> None:
    account = part(document, "serviceAccount")
    if not account:
        return
    found.account = f"{part(account, 'metadata').get('namespace', '?')}/{_name(account)}"
    roles = {(str(one.get("kind")), _name(one)): one for one in items(document, "roles")}
    for binding in items(document, "bindings"):
        reference = part(binding, "roleRef")
        role = roles.get((str(reference.get("kind")), str(reference.get("name"))), {})
        wide = binding.get("kind") == "ClusterRoleBinding" or "namespace" not in part(
            binding, "metadata"
        )
        where = "in the whole cluster" if wide else "in its namespace"
        for rule in items(role, "rules"):
            line = f"{_rule(rule)} {where} (by {_name(binding)}, {reference.get('name', '?')})"
            if len(found.rights) < MAX_ITEMS:
                found.rights.append(line)
            if _is_powerful(rule) and len(found.powerful) < MAX_ITEMS:
                found.powerful.append(line)


def _rule(rule: dict[str, Any]) -> str:
    verbs = ", ".join(strings(rule.get("verbs"))) or "?"
    things = strings(rule.get("resources")) or strings(rule.get("nonResourceURLs"))
    names = strings(rule.get("resourceNames"))
    return f"{verbs}: {', '.join(things) or '?'}" + (f" named {', '.join(names)}" if names else "")


def _is_powerful(rule: dict[str, Any]) -> bool:
    verbs, things = set(strings(rule.get("verbs"))), set(strings(rule.get("resources")))
    reads_secrets = {"secrets", "*"} & things and {"get", "list", "watch", "*"} & verbs
    return bool(reads_secrets or _DEEP & verbs or (_POWERFUL & things and _WRITES & verbs))


def _network(found: Surroundings, document: dict[str, Any], labels: dict[str, Any]) -> None:
    if not document:
        return
    for policy in items(document, "networkPolicies"):
        spec = part(policy, "spec")
        if selects(part(spec, "podSelector"), labels):
            # What a policy restricts that does not say.
            types = ", ".join(strings(spec.get("policyTypes"))) or "Ingress"
            found.policies.append(f"{_name(policy)}: restricts {types}")
    if not found.policies:
        found.policies.append("None selects the pod: as far as policies go, all may talk to it")
    found.services = strings(document.get("servicesSelectingThePod"))


def selects(selector: dict[str, Any], labels: dict[str, Any]) -> bool:
    """Whether a label selector of Kubernetes selects these labels; an empty one selects all."""
    if any(labels.get(key) != value for key, value in part(selector, "matchLabels").items()):
        return False
    return all(_matches(one, labels) for one in items(selector, "matchExpressions"))


def _matches(expression: dict[str, Any], labels: dict[str, Any]) -> bool:
    key, values = str(expression.get("key")), strings(expression.get("values"))
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
    return key not in labels


def _secrets(spec: dict[str, Any]) -> Iterator[str]:
    for volume in items(spec, "volumes"):
        yield from _named("volume", [part(volume, "secret").get("secretName")])
        sources = items(part(volume, "projected"), "sources")
        yield from _named("volume", (part(one, "secret").get("name") for one in sources))
    for each in containers(spec):
        whole = (part(one, "secretRef").get("name") for one in items(each, "envFrom"))
        keys = (part(one, "valueFrom", "secretKeyRef").get("name") for one in items(each, "env"))
        yield from _named("environment", [*whole, *keys])
    yield from _named(
        "to pull images", (one.get("name") for one in items(spec, "imagePullSecrets"))
    )


def _named(use: str, names: Iterable[Any]) -> Iterator[str]:
    yield from (f"{name} ({use})" for name in names if isinstance(name, str))


def _node_access(spec: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name) is True:
            yield f"{name}: it shares this with its node"
    for volume in items(spec, "volumes"):
        if path := part(volume, "hostPath").get("path"):
            yield f"hostPath {path}: a directory of its node"
    for each in containers(spec):
        context = part(each, "securityContext")
        if context.get("privileged") is True:
            yield f"{each.get('name')} is privileged: it is root on its node"
        if added := strings(part(context, "capabilities").get("add")):
            yield f"{each.get('name')} has the capabilities {', '.join(added)}"


def _owners(document: dict[str, Any]) -> Iterator[str]:
    for owner in items(document, "owners"):
        if gone := part(owner, "gone"):
            yield f"{gone.get('kind', '?')} {gone.get('name', '?')}: it was gone already"
            continue
        replicas = part(owner, "status").get("replicas")
        many = f", {replicas} replicas at the time" if isinstance(replicas, int) else ""
        yield f"{owner.get('kind', '?')} {_name(owner)}{many}"


def _images(document: dict[str, Any]) -> Iterator[str]:
    for one in items(document, "containers"):
        yield f"{one.get('name')}: image {one.get('image')}, {one.get('imageID')}"
