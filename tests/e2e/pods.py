"""The pods that are captured, with every kind of container that a plain cluster runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.e2e.commands import Commands
from tests.e2e.installation import MARK

POD = "shop"
"""Of its containers two run and two have ended."""
CONTAINERS = {
    "setup": "terminated",
    "mesh": "running",
    "app": "running",
    "once": "terminated",
}
"""Their states."""
PENDING = "nowhere"
"""A pod that no node takes."""
MARKER = "/tmp/intruder.txt"  # in the container
FOREVER = "trap 'exit 0' TERM; while :; do sleep 1; done"


@dataclass(frozen=True, slots=True)
class Target:
    """The namespace with the pods."""

    commands: Commands
    made: bool
    """Whether the namespace is ours to remove."""

    @property
    def namespace(self) -> str:
        """Its name."""
        return self.commands.inputs.target_namespace

    @property
    def secret(self) -> str:
        """What the intruder left in `MARKER`."""
        return f"left by {self.commands.inputs.run}"

    def start(self) -> None:
        """Create the pods, and wait until each container is in the state that it will stay in.

        What an earlier run left is of no use: a pod's commands cannot be changed.
        """
        image = self.commands.inputs.target_image
        where = f"--namespace={self.namespace}"
        self.commands.until(
            lambda: self.commands.get("serviceaccount", "default", where), "The service account"
        )
        self._delete_pods()
        for pod in (shop(image, self.secret), nowhere(image)):
            self.commands.apply(pod, where)
        self.commands.until(self._settled, f"The pod {self.namespace}/{POD} with its containers")

    def _settled(self) -> bool:
        pod = self.commands.get("pod", POD, f"--namespace={self.namespace}")
        return pod is not None and states(pod) == CONTAINERS

    def remove(self) -> None:
        """Delete the pods, and the namespace if it was made for them."""
        self._delete_pods()
        if self.made:
            limit = f"--timeout={self.commands.inputs.timeout}s"
            self.commands.kubectl("delete", "namespace", self.namespace, limit)

    def _delete_pods(self) -> None:
        """Delete our pods; one of that name which is somebody else's stays."""
        where, limit = f"--namespace={self.namespace}", f"--timeout={self.commands.inputs.timeout}s"
        self.commands.kubectl("delete", "pod", f"--selector={MARK}", where, limit)


def make_namespace(commands: Commands) -> bool:
    """Have the target namespace there; return whether it was made by these tests, now or before."""
    name = commands.inputs.target_namespace
    found = commands.namespace(name)
    if found is not None:
        return MARK in found["metadata"].get("labels", {})
    # Some clusters let nothing but the restricted in, unless a namespace says so.
    labels = {MARK: commands.inputs.run, "pod-security.kubernetes.io/enforce": "baseline"}
    metadata = {"name": name, "labels": labels}
    commands.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return True


def states(pod: dict[str, Any]) -> dict[str, str]:
    """Return the state of each container: `waiting`, `running` or `terminated`."""
    status = pod.get("status", {})
    found = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return {one["name"]: next(iter(one["state"]), "waiting") for one in found}


def shop(image: str, secret: str) -> dict[str, Any]:
    """Return the pod to capture."""
    intrusion = f"mkdir -p /tmp; echo '{secret}' > {MARKER}; echo '{secret}'; {FOREVER}"
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "initContainers": [
            _container("setup", image, "mkdir -p /tmp; echo ready > /tmp/ready"),
            _container("mesh", image, FOREVER) | {"restartPolicy": "Always"},
        ],
        "containers": [
            _container("app", image, intrusion),
            _container("once", image, "echo done"),
        ],
    }
    return _pod(POD, spec)


def nowhere(image: str) -> dict[str, Any]:
    """Return the pod that stays pending."""
    spec = {
        "nodeSelector": {"forensics.orkaproj.io/e2e": "no-such-node"},
        "terminationGracePeriodSeconds": 1,
        "containers": [_container("app", image, FOREVER)],
    }
    return _pod(PENDING, spec)


def held_pod(name: str, image: str) -> dict[str, Any]:
    """Return a pod with a label of its own that takes some seconds to end."""
    script = "trap 'sleep 5; exit 0' TERM; echo here; while :; do sleep 1; done"
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "automountServiceAccountToken": False,
        "containers": [_container("app", image, script)],
    }
    pod = _pod(name, spec)
    return pod | {"metadata": pod["metadata"] | {"labels": {"app": name}}}


def _pod(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "labels": {MARK: "target"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _container(name: str, image: str, script: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
    }
