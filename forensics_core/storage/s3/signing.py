"""What a request costs before it is sent: its signature, and handlers that have nothing to do.

The signature is botocore's own, in Python, which reads no body that is not signed; what is the same
for all requests of a day and a bucket's region, the key, is derived once. The AWS CRT's signer,
which botocore takes where it is installed, copies request and credentials for each signature, and
takes twice as long. Both are set by botocore's events, so that other requests stay as they are.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.auth import AUTH_TYPE_MAPS, SIGNED_HEADERS_BLACKLIST, S3SigV4Auth
from botocore.handlers import BUILTIN_HANDLERS

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

NAME = "forensics-s3v4"
"""What botocore knows the signer by."""
_SIGNED_SO = {"v4", "s3v4"}
"""Versions of signatures that are made by this signer; those of links, and of directory buckets,
are not."""
IDLE = {
    # Of parameters that none of our requests has: keys of the customer's own, metadata, trailers.
    *("sse_md5", "validate_ascii_metadata", "_handle_request_validation_mode_member"),
    *("generate_idempotent_uuid", "convert_body_to_file_like_object"),
    # Of Lambda, of other services, and of retries, which are ours.
    *("add_recursion_detection_header", "inject_api_version_header_if_needed", "add_retry_headers"),
    # Of a header that nobody reads.
    "handle_expires_header",
}
"""botocore's handlers, by name, that look at every request and do nothing for any of ours."""
_DAYS = 16
"""Keys that are kept: of a day, a region and an identity each."""


class S3Signer(S3SigV4Auth):
    """Signs as `S3SigV4Auth` does, with plain dictionaries in place of a message's headers."""

    def headers_to_sign(self, request: Any) -> Any:
        """Return the headers that the signature covers, by their names in small letters."""
        named = {name.lower(): str(value) for name, value in request.headers.items()}
        named.setdefault("host", _host_of(request.url))
        return {name: named[name] for name in sorted(named) if name not in _UNSIGNED}

    def canonical_headers(self, headers_to_sign: Any) -> str:
        """Return the headers' lines, in the order of their names."""
        rows = (f"{name}:{' '.join(value.split())}" for name, value in headers_to_sign.items())
        return "\n".join(rows)

    def signed_headers(self, headers_to_sign: Any) -> str:
        """Return their names."""
        return ";".join(headers_to_sign)

    def signature(self, string_to_sign: str, request: Any) -> str:
        """Return the signature in hexadecimal digits."""
        scope = self.credential_scope(request)
        return hmac.digest(
            _key(self.credentials.secret_key, scope), string_to_sign.encode(), "sha256"
        ).hex()


_UNSIGNED = frozenset(SIGNED_HEADERS_BLACKLIST)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _host_of(url: str) -> str:
    """Return what the header `Host` will say, which the HTTP client sets."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS[parts.scheme])


@lru_cache(maxsize=_DAYS)
def _key(secret: str, scope: str) -> bytes:
    """Return the key of a scope: `20261128/eu-west-1/s3/aws4_request`."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign_and_send_plainly(client: S3Client) -> None:
    """Have `client` sign by `S3Signer`, and call no handlers that do nothing for our requests."""
    AUTH_TYPE_MAPS[NAME] = S3Signer
    events: Any = client.meta.events
    events.register_first("choose-signer.s3", _choose)
    for event, handler, *_ in BUILTIN_HANDLERS:
        if getattr(handler, "__name__", "") in IDLE:
            events.unregister(event, handler)
    # It is told to try once, and looks at every answer to find that it has.
    events.unregister("needs-retry.s3", unique_id="retry-config-s3")


def _choose(signature_version: object, signing_name: str, **_: object) -> str | None:
    """Return the signer's name for what it is made for; None leaves the choice to botocore."""
    plain = signing_name == "s3" and signature_version in _SIGNED_SO
    return NAME if plain else None
