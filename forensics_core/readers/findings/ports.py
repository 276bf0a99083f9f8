"""The ports that image and pod declare, and the rules over sockets have to know of."""

from __future__ import annotations

from typing import Any

from forensics_core.readers.context import containers, items, part

PortSet = frozenset[tuple[str, int]]
"""Each with its protocol: `("tcp", 80)`."""


def of_the_pod(pod: dict[str, Any]) -> PortSet:
    """Return the ports that a specification declares, of all containers: they share a network."""
    return frozenset(
        (protocol.lower(), port)
        for each in containers(part(pod, "spec"))
        for one in items(each, "ports")
        if isinstance(port := one.get("containerPort"), int)
        and isinstance(protocol := one.get("protocol") or "tcp", str)
    )


def declared_by(inspect: Any, pod: PortSet) -> PortSet | None:
    """Return the ports that image or pod declare; None where neither declares any.

    `inspect` is what the runtime said of the container, of whatever type.
    """
    ports = part(inspect, "Config").get("ExposedPorts")
    if not isinstance(ports, dict):
        return pod or None
    told = (str(each)[:20].partition("/") for each in ports)
    return pod | {
        (protocol.lower() or "tcp", int(port)) for port, _, protocol in told if port.isdecimal()
    }
