"""The typed models of the client library, which nobody here uses: objects are plain JSON.

The library imports all 850 modules of them with itself, which takes 35 MiB and a fifth of a second.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_LIBRARY = "kubernetes_asyncio"
_CLIENT = f"{_LIBRARY}.client"
_PACKAGES = (_LIBRARY, _CLIENT, f"{_CLIENT}.models")
"""Packages whose own imports are left out; what lies in them can be imported one by one."""
_USED = {"ApiClient": "api_client", "Configuration": "configuration"}
"""What we and the library's own `config` take from `client`, and where that is."""


def leave_models_out() -> bool:
    """Have the client library imported without its models; return whether that was possible.

    For processes of ours, before anything of the library is imported: whoever wants a model
    afterwards finds none. Where the library is imported already, or is not there as we know it,
    nothing changes: it is imported whole, or missed by whoever imports it.
    """
    if _LIBRARY in sys.modules:
        return False
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None:
            for made in _PACKAGES:
                sys.modules.pop(made, None)
            return False
        _add(name, module_from_spec(spec))
    # Where a module has no such name, Python asks this function for it.
    vars(sys.modules[_CLIENT])["__getattr__"] = _from_client
    return True


def _add(name: str, package: ModuleType) -> None:
    """Put a package among the modules as it is before its own code has run."""
    sys.modules[name] = package
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, package)


def _from_client(name: str) -> Any:
    if name not in _USED:
        raise AttributeError(f"{_CLIENT}.{name} was left out of this process")
    return getattr(import_module(f"{_CLIENT}.{_USED[name]}"), name)
