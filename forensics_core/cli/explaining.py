"""What the API server refuses, in the words of whoever typed the command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from forensics_core.errors import AlreadyExists, ClusterError, Forbidden, Invalid, NotFound

_REQUEST = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) /\S*: ")
"""How messages of the gateway begin; nobody typed that."""
_DENIED = re.compile(r"^.* denied request: ", re.DOTALL)
"""How an admission policy's answer begins, before the words of its author."""
_UNKNOWN_KIND = ("404 page not found", "could not find the requested resource", "HTTP 404")
"""What an API server says that does not serve the resource."""


@contextmanager
def explaining(namespace: str) -> Iterator[None]:
    """Raise the block's errors again with what to do about them.

    `namespace` is where PodCheckpoints were looked for.
    """
    try:
        yield
    except (AlreadyExists, Forbidden, Invalid, NotFound) as error:
        message = _REQUEST.sub("", error.message)
        said, hint = _explain(message, error, namespace)
        raise type(error)(said, hint=hint) from error


def _explain(message: str, error: ClusterError, namespace: str) -> tuple[str, str]:
    if _DENIED.match(message):
        return _DENIED.sub("", message), "The cluster's admission policy refused the request"
    if isinstance(error, NotFound) and any(said in message for said in _UNKNOWN_KIND):
        return (
            "The cluster knows no PodCheckpoints",
            "Install kube-forensics into it (make deploy), or choose another with --context",
        )
    if isinstance(error, NotFound) and f'namespaces "{namespace}" not found' in message:
        return (
            f"There is no namespace '{namespace}' for PodCheckpoints",
            "Install kube-forensics (make deploy), or name another with --checkpoint-namespace",
        )
    return message, error.hint
