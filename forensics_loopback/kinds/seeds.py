"""Nodes and pods to begin with, as a real cluster shows them."""

from __future__ import annotations

import hashlib

from forensics_loopback.kinds.objects import Obj, now


def node(name: str) -> Obj:
    """A ready node with containerd."""
    at = now()
    ready = {
        "type": "Ready",
        "status": "True",
        "lastHeartbeatTime": at,
        "lastTransitionTime": at,
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
    }
    size = {"cpu": "2", "memory": "8Gi", "pods": "110"}
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": size,
            "allocatable": size,
            "conditions": [ready],
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": "6.1.0",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "containerRuntimeVersion": "containerd://2.4.0",
                "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def running_pod(name: str, namespace: str) -> Obj:
    """A running pod with the one container `app`, on `node1`."""
    at = now()
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": at}
        for kind in kinds
    ]
    image = "registry.example/app:1"
    container = {
        "name": "app",
        "state": {"running": {"startedAt": at}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": image,
        "imageID": "sha256:" + hashlib.sha256(image.encode()).hexdigest(),
        "containerID": f"containerd://{digest}",
        "started": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": "node1", "containers": [{"name": "app", "image": image}]},
        "status": {
            "observedGeneration": 1,
            "phase": "Running",
            "conditions": conditions,
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "startTime": at,
            "containerStatuses": [container],
            "qosClass": "BestEffort",
        },
    }
