"""Whether anything in the cluster enforces network policies: the API takes them either way. Pure.

There is no field that tells. What can be seen are the DaemonSets of the network plugins that are
known to enforce them, and whether they are ready on every node. A plugin that is told not to, and
policies of its own kind that let traffic through, cannot be seen.

Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forensics_core.kube.objects import Object

NetworkPolicies = Literal["detect", "enforced"]
"""Whether to look for what enforces them, or to rely on the administrator's word."""

KNOWN = (
    ("calico-system", "calico-node"),
    ("kube-system", "calico-node"),
    ("kube-system", "canal"),
    ("kube-system", "rke2-canal"),
    ("kube-system", "cilium"),
    ("cilium", "cilium"),
    ("kube-system", "anetd"),
    ("kube-system", "kube-router"),
    ("kube-system", "antrea-agent"),
    ("kube-system", "kube-ovn-cni"),
    ("kube-system", "weave-net"),
    ("kube-system", "azure-npm"),
    ("openshift-ovn-kubernetes", "ovnkube-node"),
    ("ovn-kubernetes", "ovnkube-node"),
    ("kube-system", "aws-node"),
)
"""Namespaces and names. `anetd` is Cilium on GKE; `aws-node` enforces where it is told to."""
_AWS = "aws-node"
_AWS_ENFORCES = "--enable-network-policy=true"


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What is known of it, in words; a message goes into a condition."""

    enforced: bool
    message: str


DECLARED = Enforcement(True, "the operator's settings say that network policies are enforced")
UNKNOWN = Enforcement(
    False, "no network plugin was found that is known to enforce network policies"
)


@dataclass(frozen=True, slots=True)
class NamespaceSurroundings:
    """What was read around a pod, and what could not be."""

    services: tuple[Object, ...] = ()
    policies: tuple[Object, ...] = ()
    controller: Object | None = None
    enforcement: Enforcement = UNKNOWN
    gaps: tuple[str, ...] = ()
    """One for each part that is missing, in words."""


def judge(daemon_sets: list[Object]) -> Enforcement:
    """Return what these DaemonSets, all of known names, say of enforcement. Pure."""
    enforcing = [one for one in daemon_sets if _enforces(one)]
    for one in enforcing:
        if _ready_everywhere(one):
            return Enforcement(True, f"{_shown(one)} is ready on all of its nodes")
    if enforcing:
        return Enforcement(False, f"{_shown(enforcing[0])} is not ready on all of its nodes")
    if daemon_sets:
        return Enforcement(False, f"{_shown(daemon_sets[0])} is not told to enforce policies")
    return UNKNOWN


def _enforces(daemon_set: Object) -> bool:
    """Whether it enforces policies: Amazon's does where its agent is told to."""
    if daemon_set["metadata"]["name"] != _AWS:
        return True
    template = daemon_set.get("spec", {}).get("template", {}).get("spec", {})
    arguments = [word for one in template.get("containers") or [] for word in one.get("args") or []]
    return _AWS_ENFORCES in arguments


def _ready_everywhere(daemon_set: Object) -> bool:
    status = daemon_set.get("status") or {}
    wanted = status.get("desiredNumberScheduled") or 0
    return bool(wanted) and (status.get("numberReady") or 0) >= wanted


def _shown(daemon_set: Object) -> str:
    metadata, status = daemon_set["metadata"], daemon_set.get("status") or {}
    ready, wanted = status.get("numberReady") or 0, status.get("desiredNumberScheduled") or 0
    return f"{metadata['name']} in {metadata['namespace']} ({ready} of {wanted} ready)"
