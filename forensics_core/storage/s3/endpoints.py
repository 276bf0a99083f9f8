"""Where requests go: worked out once for an operation and a bucket, not for each object.

Botocore remembers endpoints too, by some fifteen parameters; but it gathers those for every request
anew, a tenth of what a small object costs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

MAX_KNOWN = 256
"""Answers that are kept: an operator has a dozen operations, and some buckets."""
_BY_OBJECT = {"Key", "Prefix"}
"""Parameters that none of AWS's rules asks for, which is why `session` removes them; a user's own
might."""
_Gather = Callable[[Any, dict[str, Any], dict[str, Any]], Awaitable[dict[str, Any]]]


def remember_endpoints(client: S3Client) -> None:
    """Have `client` gather the parameters of an endpoint once for each operation and bucket."""
    resolver: Any = cast(Any, client)._ruleset_resolver
    if _BY_OBJECT & resolver._param_definitions.keys():
        return
    resolver._get_provider_params = _remembering(resolver)


def _remembering(resolver: Any) -> _Gather:
    gather: _Gather = resolver._get_provider_params
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    async def remembered(
        operation: Any, asked: dict[str, Any], context: dict[str, Any]
    ) -> dict[str, Any]:
        # A bucket that redirected to another region is known by these.
        builtins = await resolver._get_customized_builtins(operation, asked, context)
        source = str(asked.get("CopySource"))
        key = operation.name, asked.get("Bucket"), source, *builtins.values()
        if key not in known:
            if len(known) >= MAX_KNOWN:
                known.clear()
            known[key] = await gather(operation, asked, context)
        return dict(known[key])

    return remembered
