"""The typed models of the client library, which nobody here uses: objects are plain JSON.

The library loads all of them with itself, and they are a third of what a small process needs.
"""

from __future__ import annotations

import gc
import sys
from types import ModuleType

_UNUSED = ("kubernetes_asyncio.client.api.", "kubernetes_asyncio.client.models.")
_HOLDERS = ("kubernetes_asyncio.client", *(name.rstrip(".") for name in _UNUSED))


def forget_models() -> int:
    """Give back the memory of the models; return how many modules that were.

    For processes of ours: whoever imports them afterwards finds them gone.
    """
    modules = [name for name in sys.modules if name.startswith(_UNUSED)]
    for name in modules:
        del sys.modules[name]
    for name in _HOLDERS:
        _empty(sys.modules.get(name))
    gc.collect()
    return len(modules)


def _empty(holder: ModuleType | None) -> None:
    names = vars(holder) if holder else {}
    for name in [name for name, value in names.items() if _unused(value)]:
        delattr(holder, name)


def _unused(value: object) -> bool:
    of = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return isinstance(of, str) and of.startswith(_UNUSED)
