"""What the API server does to built-in objects on their way in: defaults and checks by kind."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

from forensics_loopback.kinds.events import check_event, default_event
from forensics_loopback.kinds.objects import Obj, lookup, metadata, name_of, now, uid_of
from forensics_loopback.kinds.resources import ServedResource
from forensics_loopback.kinds.status import Cause, bad_request

SECRET_LIMIT = 1024 * 1024
"""Bytes of decoded data that a Secret or a ConfigMap may hold."""


def fill_in(obj: Obj, resource: ServedResource) -> None:
    """Set, in place, the defaults of a built-in object about to be created."""
    default = _DEFAULTS.get(resource.qualified)
    if default:
        default(obj)


def check(obj: Obj, resource: ServedResource) -> Iterator[Cause]:
    """What is wrong with a built-in object."""
    checker = _CHECKS.get(resource.qualified)
    if checker:
        yield from checker(obj)


def fold_string_data(secret: Obj) -> None:
    """Turn a Secret's write-only `stringData` into `data`, in place."""
    for key, text in (secret.pop("stringData", None) or {}).items():
        encoded = base64.b64encode(str(text).encode()).decode()
        secret.setdefault("data", {})[key] = encoded


def _default_secret(secret: Obj) -> None:
    secret.setdefault("type", "Opaque")


def _check_secret(secret: Obj) -> Iterator[Cause]:
    try:
        size = sum(
            len(base64.b64decode(v, validate=True)) for v in (secret.get("data") or {}).values()
        )
    except (binascii.Error, TypeError, ValueError) as error:
        raise bad_request(
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data in data'
        ) from error
    yield from _check_size(size)


def _check_config_map(config_map: Obj) -> Iterator[Cause]:
    data = [
        *(config_map.get("data") or {}).values(),
        *(config_map.get("binaryData") or {}).values(),
    ]
    yield from _check_size(sum(len(str(value).encode()) for value in data))


def _check_size(size: int) -> Iterator[Cause]:
    if size > SECRET_LIMIT:
        text = f"Too long: may not be more than {SECRET_LIMIT} bytes"
        yield Cause("data", text, "FieldValueTooLong")


def _default_namespace(namespace: Obj) -> None:
    labels = metadata(namespace).setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = name_of(namespace)
    namespace["spec"] = {"finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}


def _default_job(job: Obj) -> None:
    uid, name = uid_of(job), name_of(job)
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    metadata(job)["labels"] = {**(metadata(job).get("labels") or {}), **labels}
    spec = job["spec"]
    # A failure policy has to see how a pod ended before another one is made.
    policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    defaults = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
        "manualSelector": False,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": policy,
    }
    job["spec"] = {**defaults, **spec}
    template = job["spec"]["template"]
    inner = template.setdefault("metadata", {})
    inner["labels"] = {**(inner.get("labels") or {}), **labels}
    _default_pod_spec(template["spec"])
    job["status"] = {}


def _default_pod_spec(spec: Obj) -> None:
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
        # What a tag of `latest` stands for may be another image by now.
        policy = "Always" if tag in {"", "latest"} else "IfNotPresent"
        container.setdefault("imagePullPolicy", policy)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")


def _default_pod(pod: Obj) -> None:
    spec = pod["spec"]
    _default_pod_spec(spec)
    account = spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", account)
    spec.setdefault("priority", 0)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    # On a node that is not heard of any more a pod is left for five minutes.
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(_tolerates(toleration, key) for toleration in tolerations):
            more = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append({"key": key, **more})
    pod.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def _tolerates(toleration: Obj, key: str) -> bool:
    effect = toleration.get("effect", "NoExecute")
    return bool(toleration.get("key", key) == key and effect == "NoExecute")


def _check_containers(spec: Any, at: str) -> Iterator[Cause]:
    containers = (spec or {}).get("containers")
    if not containers:
        yield Cause(f"{at}.containers", "Required value", "FieldValueRequired")
    for index, container in enumerate(containers or ()):
        if not container.get("name"):
            yield Cause(f"{at}.containers[{index}].name", "Required value", "FieldValueRequired")


def _check_pod(pod: Obj) -> Iterator[Cause]:
    yield from _check_containers(pod.get("spec"), "spec")


def _check_job(job: Obj) -> Iterator[Cause]:
    spec = lookup(job, "spec.template.spec") or {}
    yield from _check_containers(spec, "spec.template.spec")
    policy = spec.get("restartPolicy")
    if policy not in {"Never", "OnFailure"}:
        text = f'Required value: valid values: "OnFailure", "Never", not "{policy}"'
        yield Cause("spec.template.spec.restartPolicy", text, "FieldValueRequired")


def _default_definition(definition: Obj) -> None:
    spec = definition["spec"]
    names = spec["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})
    at = now()
    accepted = {"status": "True", "lastTransitionTime": at}
    definition["status"] = {
        "conditions": [
            {
                "type": "NamesAccepted",
                **accepted,
                "reason": "NoConflicts",
                "message": "no conflicts found",
            },
            {
                "type": "Established",
                **accepted,
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
            },
        ],
        "acceptedNames": names,
        "storedVersions": [version["name"] for version in spec["versions"] if version["storage"]],
    }


def _check_definition(definition: Obj) -> Iterator[Cause]:
    spec = definition["spec"]
    wanted = f"{spec['names']['plural']}.{spec['group']}"
    if name_of(definition) != wanted:
        text = f'Invalid value: "{name_of(definition)}": must be spec.names.plural+"."+spec.group'
        yield Cause("metadata.name", text)


_DEFAULTS: dict[str, Callable[[Obj], None]] = {
    "secrets": _default_secret,
    "namespaces": _default_namespace,
    "pods": _default_pod,
    "jobs.batch": _default_job,
    "events": default_event,
    "customresourcedefinitions.apiextensions.k8s.io": _default_definition,
}
_CHECKS: dict[str, Callable[[Obj], Iterator[Cause]]] = {
    "secrets": _check_secret,
    "configmaps": _check_config_map,
    "pods": _check_pod,
    "jobs.batch": _check_job,
    "events": check_event,
    "customresourcedefinitions.apiextensions.k8s.io": _check_definition,
}
