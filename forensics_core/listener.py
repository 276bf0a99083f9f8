"""A port that is served on every address of this machine, whichever families it has.

::

    site = web.SockSite(runner, listener(8080))
"""

from __future__ import annotations

import socket

from forensics_core.errors import UsageError


class PortUnavailable(UsageError):
    """The port cannot be listened on: another program has it, or this one may not."""


def listener(port: int) -> socket.socket:
    """Return a listening socket; 0 takes any free port. Raises `PortUnavailable`.

    A kubelet probes the pod's first address, and on an IPv6-only cluster that is no IPv4 one.
    """
    try:
        return _listen(port)
    except OSError as error:
        raise PortUnavailable(
            f"Cannot listen on port {port}: {error.strerror or error}",
            hint="Stop the program that uses it, or set another port",
        ) from error


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
