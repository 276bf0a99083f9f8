"""The collector: runs on the node, reads containers, and streams them out as a bundle.

from collector import Wish, capture_container

wish = Wish(incident="INC-4711", pause=True)
result = await capture_container("docker://web", to="s3://cases", wish=wish)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collector.byhand import Wish, capture_container, capture_for_library
    from collector.capture import Result

__all__ = ["Result", "Wish", "capture_container", "capture_for_library"]

_HOMES = {
    "Result": "collector.capture",
    "Wish": "collector.byhand",
    "capture_container": "collector.byhand",
    "capture_for_library": "collector.byhand",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: the command line starts without all of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'collector' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
