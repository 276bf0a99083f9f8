"""The collector: runs on the node, reads containers, and streams them out as a bundle.

from collector import CaptureOptions, capture_container

options = CaptureOptions(incident="INC-4711", pause=True)
result = await capture_container("docker://web", to="s3://cases", options=options)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collector.capture import CaptureResult
    from collector.local import CaptureOptions, capture_container

__all__ = ["CaptureOptions", "CaptureResult", "capture_container"]

_HOMES = {
    "CaptureResult": "collector.capture",
    "CaptureOptions": "collector.local",
    "capture_container": "collector.local",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: the command line starts without all of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'collector' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
