"""The Job of one attempt, and the one that thaws. Pure: data in, data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forensics_core.api.names import (
    child_name,
)
from forensics_core.api.order import ArtifactKind
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.operator.attempt.order import CREDENTIALS_FILE, ORDER_FILE, child_labels
from forensics_core.operator.attempt.pods import COLLECTOR
from forensics_core.operator.settings import JOB_MARGIN, CollectorSettings, DestinationRule

ORDER_FOLDER = "/run/forensics/order"
HOST_PROC = "/host/proc"
TERMINATION_LOG = "/dev/termination-log"
TOKEN_FOLDER = "/run/forensics/token"  # noqa: S105 - a path
CREDENTIALS_FOLDER = "/run/forensics/credentials"
"""Where a Secret with a credentials file is; its keys that are variables are in the environment."""
CA_FOLDER, CA_FILE = "/run/forensics/ca", "ca.crt"

CAPABILITIES = ("SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN", "FOWNER", "SYS_CHROOT")
"""Added to none; `docs/security.md` says what each is for."""

GRACE = 60
"""Seconds between the wish that a collector ends and its end."""

_PROC_MOUNT = {"name": "host-proc", "mountPath": HOST_PROC, "readOnly": True}
_PROC_VOLUME = {"name": "host-proc", "hostPath": {"path": "/proc", "type": "Directory"}}


def build_job(
    checkpoint: PodCheckpoint, rule: DestinationRule, settings: CollectorSettings, seconds: int
) -> dict[str, Any]:
    """Return the Job of the current attempt; the order's Secret bears the same name.

    `seconds` are what the order gives to the collector, from its own start on.
    """
    labels = child_labels(checkpoint)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": checkpoint.status.job_name,
            "namespace": checkpoint.metadata.namespace,
            "labels": labels,
            "ownerReferences": [checkpoint.owner_reference()],
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": seconds + settings.start_seconds + JOB_MARGIN,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod_spec(checkpoint, rule, settings),
            },
        },
    }


def _pod_spec(
    checkpoint: PodCheckpoint, rule: DestinationRule, settings: CollectorSettings
) -> dict[str, Any]:
    credentials = rule.credentials
    spec = _base_pod(checkpoint.status.node, settings) | {
        "terminationGracePeriodSeconds": GRACE,
        "containers": [_container(checkpoint.status.node, rule, settings)],
        "volumes": _volumes(checkpoint, rule),
    }
    if credentials.service_account:
        spec["serviceAccountName"] = credentials.service_account
    if ArtifactKind.MEMORY in checkpoint.spec.artifacts:
        # Threads are stopped by numbers, which must be the node's.
        spec["hostPID"] = True
    if credentials.node:
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return spec


def _base_pod(node: str, settings: CollectorSettings) -> dict[str, Any]:
    """Return what the pods of all Jobs have in common."""
    spec: dict[str, Any] = {
        # The operator decides on another attempt, after it has looked for a manifest.
        "restartPolicy": "Never",
        # A node may be hostile: nothing there can speak to the cluster.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # Affinity, never nodeName: that would go around the scheduler and its accounting.
        "affinity": {"nodeAffinity": _on_node(node)},
        "tolerations": [{"operator": "Exists"}],
    }
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    return spec


def _on_node(node: str) -> dict[str, Any]:
    named = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = [{"matchFields": [named]}]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}


def _container(node: str, rule: DestinationRule, settings: CollectorSettings) -> dict[str, Any]:
    command = [*settings.command, "--order", f"{ORDER_FOLDER}/{ORDER_FILE}"]
    container = _base_container(settings, command) | {
        "env": _environment(node, rule, settings),
        "volumeMounts": _mounts(rule),
        "terminationMessagePolicy": "File",
        "terminationMessagePath": TERMINATION_LOG,
    }
    if rule.credentials.secret:
        container["envFrom"] = [{"secretRef": {"name": rule.credentials.secret}}]
    return container


def _base_container(settings: CollectorSettings, command: list[str]) -> dict[str, Any]:
    """Return what the containers of all Jobs have in common: above all what they may do."""
    return {
        "name": COLLECTOR,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": command,
        "securityContext": {
            "privileged": False,
            "allowPrivilegeEscalation": True,
            "readOnlyRootFilesystem": True,
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
            "seccompProfile": {"type": "RuntimeDefault"},
            "appArmorProfile": {"type": "Unconfined"},
            "seLinuxOptions": {"type": "spc_t"},
        },
        "resources": {
            "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request},
            "limits": {"memory": settings.memory_limit},
        },
    }


def _environment(
    node: str, rule: DestinationRule, settings: CollectorSettings
) -> list[dict[str, str]]:
    values = _base_environment(settings) | _store_environment(rule)
    values |= {
        "FORENSICS_NODE_NAME": node,
        "AWS_REGION": rule.region,
        "AWS_DEFAULT_REGION": rule.region,
        "FORENSICS_TERMINATION_LOG": TERMINATION_LOG,
        "FORENSICS_CONCURRENT_CONTAINERS": str(settings.concurrent_containers),
        "FORENSICS_GENTLE": str(settings.gentle).lower(),
        "FORENSICS_RATE": settings.rate,
    }
    if rule.endpoint:
        values["AWS_ENDPOINT_URL_S3"] = rule.endpoint
    if rule.expected_bucket_owner:
        values["FORENSICS_EXPECTED_BUCKET_OWNER"] = rule.expected_bucket_owner
    if rule.credentials.secret:
        values["AWS_SHARED_CREDENTIALS_FILE"] = f"{CREDENTIALS_FOLDER}/{CREDENTIALS_FILE}"
    if rule.credentials.assume_role:
        values["AWS_SHARED_CREDENTIALS_FILE"] = f"{ORDER_FOLDER}/{CREDENTIALS_FILE}"
    if rule.credentials.service_account:
        values["AWS_ROLE_ARN"] = rule.credentials.role_arn
        values["AWS_WEB_IDENTITY_TOKEN_FILE"] = f"{TOKEN_FOLDER}/token"
    if not rule.credentials.node:
        values["AWS_EC2_METADATA_DISABLED"] = "true"
    return _variables(values)


def _store_environment(rule: DestinationRule) -> dict[str, str]:
    """Return what the collector has to know of the store, beside the standard AWS variables."""
    said = {
        "FORENSICS_S3_CHECKSUM": "" if rule.checksum == "auto" else rule.checksum,
        "FORENSICS_S3_ACL": "" if rule.acl is None else str(rule.acl).lower(),
        "FORENSICS_S3_ADDRESSING_STYLE": (
            "" if rule.addressing_style == "auto" else rule.addressing_style
        ),
        "FORENSICS_S3_PART_SIZE": rule.part_size,
        "AWS_CA_BUNDLE": f"{CA_FOLDER}/{CA_FILE}" if rule.ca_config_map else "",
    }
    return {name: value for name, value in said.items() if value}


def _base_environment(settings: CollectorSettings) -> dict[str, str]:
    """Return what leads the programs of all Jobs to the node's runtime."""
    values = {"FORENSICS_HOST_PROC": HOST_PROC}
    if settings.runtime_endpoint:
        values["FORENSICS_RUNTIME_ENDPOINT"] = settings.runtime_endpoint
    return values


def _variables(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _mounts(rule: DestinationRule) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "order", "mountPath": ORDER_FOLDER, "readOnly": True},
        _PROC_MOUNT,
    ]
    if rule.credentials.secret:
        mounts.append({"name": "credentials", "mountPath": CREDENTIALS_FOLDER, "readOnly": True})
    if rule.credentials.service_account:
        mounts.append({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True})
    if rule.ca_config_map:
        mounts.append({"name": "ca", "mountPath": CA_FOLDER, "readOnly": True})
    return mounts


def _volumes(checkpoint: PodCheckpoint, rule: DestinationRule) -> list[dict[str, Any]]:
    credentials = rule.credentials
    order = {"secretName": checkpoint.status.job_name, "defaultMode": 0o400}
    volumes: list[dict[str, Any]] = [
        {"name": "order", "secret": order},
        _PROC_VOLUME,
    ]
    if credentials.service_account:
        # For the cloud alone: the cluster's API takes no token with another audience.
        token = {"path": "token", "audience": credentials.audience, "expirationSeconds": 3600}
        sources = [{"serviceAccountToken": token}]
        volumes.append({"name": "token", "projected": {"sources": sources}})
    if credentials.secret:
        # Optional: of a Secret that is missing, its variables tell, and sooner.
        secret = {"secretName": credentials.secret, "defaultMode": 0o400, "optional": True}
        volumes.append({"name": "credentials", "secret": secret})
    if rule.ca_config_map:
        volumes.append({"name": "ca", "configMap": {"name": rule.ca_config_map}})
    return volumes


def thaw_name(checkpoint: PodCheckpoint) -> str:
    """Return the name of the Job that resumes what the current attempt may have left paused."""
    uid, attempt = checkpoint.metadata.uid or "", checkpoint.status.attempt
    return child_name(f"thaw-{checkpoint.metadata.name}", uid, attempt)


def build_thaw_job(
    checkpoint: PodCheckpoint, containers: Sequence[str], settings: CollectorSettings
) -> dict[str, Any]:
    """Return the Job that resumes containers which a killed collector may have left paused.

    It belongs to nobody, so that it does its work though the checkpoint is deleted meanwhile, and
    goes by itself. It needs neither order nor credentials.
    """
    labels = child_labels(checkpoint)
    command = [*settings.command[:-1], "thaw", *containers]
    container = _base_container(settings, command) | {
        "env": _variables(_base_environment(settings)),
        "volumeMounts": [_PROC_MOUNT],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": thaw_name(checkpoint),
            "namespace": checkpoint.metadata.namespace,
            "labels": labels,
        },
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": 600,
            "ttlSecondsAfterFinished": 300,
            "template": {
                "metadata": {"labels": labels},
                "spec": _base_pod(checkpoint.status.node, settings)
                | {"containers": [container], "volumes": [_PROC_VOLUME]},
            },
        },
    }
