"""A port that is served on every address of this machine, whichever families it has.

::

    site = web.SockSite(runner, listener(8080))
"""

from __future__ import annotations

import socket


def listener(port: int) -> socket.socket:
    """Return a listening socket; 0 takes any free port. Raises `OSError` if the port is taken.

    A kubelet probes the pod's first address, and on an IPv6-only cluster that is no IPv4 one.
    """
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
