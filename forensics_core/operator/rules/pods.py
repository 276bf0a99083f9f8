"""The pods that rules know, found by name or by one of their containers."""

from __future__ import annotations

from collections import UserDict
from typing import TypeAlias

from forensics_core.operator.rules.facts import Alert, PodFacts

Key: TypeAlias = tuple[str, str]
"""A pod's namespace and name."""
SHORT = 12
"""Characters of a container's ID that Falco tells, and that nobody guesses."""
_STATIC = "Node/"
"""The workload of a pod that a kubelet makes by itself."""


class KnownPods(UserDict[Key, PodFacts]):
    """What is known of each pod, by namespace and name."""

    def __init__(self) -> None:
        self._by_container: dict[str, Key] = {}
        super().__init__()

    def __setitem__(self, key: Key, pod: PodFacts) -> None:
        if key in self.data:
            self._forget_containers(key)
        self.data[key] = pod
        self._by_container |= dict.fromkeys(_ids(pod), key)

    def __delitem__(self, key: Key) -> None:
        self._forget_containers(key)
        del self.data[key]

    def clear(self) -> None:
        """Forget all of them."""
        self.data.clear()
        self._by_container.clear()

    def of_alert(self, alert: Alert) -> PodFacts | None:
        """Return the pod that an alert is of, None if it is not there.

        Falco often knows no more of it than a container's ID, above all of one that has just begun.
        """
        if not alert.pod:
            key = self._by_container.get(alert.container_id[:SHORT])
            pod = self.data[key] if key is not None else None
            return pod if pod is not None and pod.container(alert.container_id) else None
        pod = self.data.get((alert.namespace, alert.pod))
        if pod is None or not alert.pod_uid or pod.workload.startswith(_STATIC):
            # The UID by which a runtime knows a static pod is not the API's.
            return pod
        return pod if pod.uid == alert.pod_uid else None

    def _forget_containers(self, key: Key) -> None:
        for found in _ids(self.data[key]):
            if self._by_container.get(found) == key:
                del self._by_container[found]


def _ids(pod: PodFacts) -> list[str]:
    both = (found for one in pod.containers for found in (one.container_id, one.previous_id))
    return [found[:SHORT] for found in both if len(found) >= SHORT]
