"""The Kubernetes client without its typed models, which nobody here uses: objects are plain JSON.

The library loads 840 modules of them with itself: 0.3 s of CPU time, and 35 MiB, a third of what a
small process needs. Here its packages are loaded by need: their submodules one by one, and all that
they hold once somebody asks for anything else. For processes of ours, before they import the
client.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_PACKAGES = (
    "kubernetes_asyncio",
    "kubernetes_asyncio.client",
    "kubernetes_asyncio.client.models",
)
_HOMES = {"ApiClient": "api_client", "Configuration": "configuration"}
"""Names of the client that are used, and where they are defined."""
_UNASKED = frozenset({"__version__", "__all__"})
"""Names with underscores that a package may define itself; all others are the interpreter's."""


def load_models_by_need() -> bool:
    """Have the client's packages load what is asked for; return whether that was still possible.

    It is not where the client was loaded before, or is not there.
    """
    if _PACKAGES[0] in sys.modules or find_spec(_PACKAGES[0]) is None:
        return False
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None:
            return False
        package = module_from_spec(spec)
        package.__class__ = _ByNeed
        sys.modules[name] = package
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, package)
    return True


class _ByNeed(ModuleType):
    """A package whose own code runs when a name is asked for that only this code defines."""

    def __getattr__(self, name: str) -> Any:
        package = self.__name__
        if name.startswith("__") and name not in _UNASKED:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        if name in _HOMES and package.endswith(".client"):
            return getattr(importlib.import_module(f"{package}.{_HOMES[name]}"), name)
        if find_spec(f"{package}.{name}") is not None:
            return importlib.import_module(f"{package}.{name}")
        _run(self)
        return getattr(self, name)


def _run(package: ModuleType) -> None:
    """Make an ordinary package of it: what its own code defines is there afterwards."""
    # First, so that what it asks of itself meanwhile does not run it again.
    package.__class__ = ModuleType
    if package.__spec__ is not None and package.__spec__.loader is not None:
        package.__spec__.loader.exec_module(package)
