"""Traces in the kernel's tables: sockets, network namespaces, rules, routes, eBPF maps, keys."""

from __future__ import annotations

import secrets

from lab.intruder import netlink
from lab.intruder.trace import (
    Clue,
    Trace,
    address_clues,
    loopback_address,
    marker,
    name,
    number,
    private_address,
    words,
)

SOCKETS, KERNEL = "sockets", "the kernel's tables"
_FAMILIES, _RULES = "sockets of other families|sockets in no table", "firewall rules"
_HOLDER = (Clue("socket:[{number}]"),)


def sockets() -> list[Trace]:
    """Return sockets of every family."""
    ethertype = secrets.randbelow(0x5000) + 0x9000
    abstract, path, port, virtual = name(), name(), number(), number()
    sniffer = (Clue("{number}", rf"\b({ethertype}|0?x?{ethertype:04x}|0x{ethertype:04X})\b"),)
    return [
        _inet("tcp", "a TCP socket that listens"),
        _inet("connected", "a TCP connection"),
        _inet("udp", "a UDP socket"),
        _inet("raw", "a raw socket"),
        _socket("abstract", "an abstract Unix socket", ("unix", f"@{abstract}"), words(abstract)),
        _socket("unix", "a Unix socket in the file system", ("unix", f"/tmp/{path}"), words(path)),
        _socket("packet", "a packet socket: a sniffer", ("packet", str(ethertype)), sniffer),
        _socket("netlink", "a netlink socket", ("netlink", port), words(port)),
        _socket("vsock", "a vsock socket that listens", ("vsock", virtual), words(virtual)),
    ]


def _socket(identity: str, title: str, step: tuple[str, ...], content: tuple[Clue, ...]) -> Trace:
    return Trace(identity, SOCKETS, title, (step,), content, _HOLDER, _FAMILIES)


def _inet(identity: str, title: str) -> Trace:
    at = loopback_address()
    port = str(secrets.randbelow(20_000) + 40_000)
    step = (identity, at, port)
    return Trace(identity, SOCKETS, title, (step,), address_clues(at), _HOLDER)


def tables() -> list[Trace]:
    """Return what the kernel keeps, in the container's network and in one of the intruder's own."""
    called, mark = name(), marker()
    key, secret = name(), marker()
    return [
        *_in_own_network(),
        *_in_containers_network(),
        Trace(
            "bpf-map",
            KERNEL,
            "a value in an eBPF map",
            (("bpf-map", called, mark),),
            words(mark),
            words(called),
            "eBPF",
        ),
        Trace(
            "key",
            KERNEL,
            "a key in a session keyring",
            (("key", key, secret),),
            words(secret),
            words(key),
            "keyring",
        ),
    ]


def _mac() -> str:
    return "02:" + ":".join(f"{each:02x}" for each in secrets.token_bytes(5))


def _in_own_network() -> list[Trace]:
    """Return what is in one network namespace; the first of them makes it, with all the others."""
    link, table, comment, mac = name(), name(), marker(), _mac()
    listener, ip, way = loopback_address(), private_address(), private_address()
    made = (
        netlink.interface(link, 100),
        netlink.address(100, ip),
        netlink.route(100, way),
        netlink.neighbour(100, private_address(), mac),
        netlink.firewall(table, comment),
    )
    step = ("other-network", listener, "4444", *made)
    where = "in a network namespace of its own"
    return [
        Trace("own-tcp", KERNEL, f"a socket {where}", (step,), address_clues(listener), _HOLDER),
        Trace("own-link", KERNEL, f"an interface {where}", (), words(link)),
        Trace("own-route", KERNEL, f"a route {where}", (), address_clues(way)),
        Trace("own-neighbour", KERNEL, f"a neighbour {where}", (), words(mac)),
        Trace(
            "own-firewall",
            KERNEL,
            f"a firewall rule {where}",
            (),
            words(comment),
            words(table),
            _RULES,
        ),
    ]


def _in_containers_network() -> list[Trace]:
    link, table, comment, mac = name(), name(), marker(), _mac()
    way = private_address()
    rule = ("rules", netlink.firewall(table, comment))
    neighbour = ("rules", netlink.neighbour(101, private_address(), mac))
    # The lab's pods have the node's own network: nothing may be changed there.
    return [
        Trace(
            "interface",
            KERNEL,
            "an interface",
            (("rules", netlink.interface(link, 101)),),
            words(link),
            only="docker",
        ),
        Trace(
            "route",
            KERNEL,
            "a route",
            (("rules", netlink.route(101, way)),),
            address_clues(way),
            only="docker",
        ),
        Trace(
            "neighbour",
            KERNEL,
            "a neighbour",
            (neighbour,),
            words(mac),
            only="docker",
        ),
        Trace(
            "firewall",
            KERNEL,
            "a firewall rule",
            (rule,),
            words(comment),
            words(table),
            _RULES,
            only="docker",
        ),
    ]
