"""What a short-lived command leaves out while it loads what it needs.

Only for processes of our own: a script that imports this library keeps the defaults of others.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_ALLOCATIONS = 50_000
"""Objects between two looks for cycles, a few MiB at most; 700 by default."""
_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


def load_aiohttp() -> None:
    """Load aiohttp without the system's certificates; to be called before the first thread starts.

    It reads all of them twice, for defaults of its own that neither the clients of S3 nor those of
    container engines use: each makes its own context, from the files that it was told.
    """
    if "aiohttp" not in sys.modules:
        with _environment(_CERTIFICATES):
            importlib.import_module("aiohttp")


@contextmanager
def without_garbage() -> Iterator[None]:
    """Look for no cycles of objects in the block, which loads what stays; rarely after it.

    What was loaded, hundreds of thousands of objects, is never looked through again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS)
        gc.enable()


def leave_out_pydantic_plugins() -> None:
    """Keep pydantic from looking for plugins in every package that is installed."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
