"""Runtimes that keep a container's processes and files out of the node's sight."""

from __future__ import annotations

from forensics_core.errors import UsageError

_PRODUCTS = {"kata": "Kata Containers", "runsc": "gVisor", "gvisor": "gVisor"}
"""By what is found in their runtimes' names."""


def refuse_sandboxed(container: str, runtime: str) -> None:
    """Raise `UsageError` for a container that runs in a machine or kernel of its own."""
    for word, product in _PRODUCTS.items():
        if word in runtime.lower():
            raise UsageError(
                f"The container '{container}' runs in {product}: the node sees neither its "
                "processes nor its files",
                hint="Capture from inside of it, or snapshot its virtual machine",
            )
