"""Credentials that somebody writes anew while a capture runs: single sign-on, the agent of a vault.

Botocore reads a file of credentials once. A capture may take longer than what is in it holds. So
whatever a store refuses is followed by another look at the file: where it holds something new, the
request is signed with that and sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import botocore.session
from anyio import to_thread
from botocore.exceptions import BotoCoreError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_FILES = {"shared-credentials-file", "config-file"}
"""Ways to credentials that botocore never goes again; all others renew theirs, or cannot."""
_REFUSED = {401, 403}
_CODES = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
"""Some of them come with status 400."""
_MAX_RENEWALS = 3
"""Times that one request is signed anew."""
_SIGNED_WITH = "forensics-signed-with"

RenewalKey = tuple[str, str, str | None]
LoadCredentials = Callable[[], Any]


def renew(client: S3Client, credentials: Any, profile: str | None) -> None:
    """Have `client`, which uses `credentials`, look for newer ones whenever it is refused."""
    if credentials is None or credentials.method not in _FILES:
        return
    method: str = credentials.method
    renewal = Renewal(credentials, lambda: _from_file(method, profile))
    # Typed as hooks that return nothing: the answer to `needs-retry` is how long to wait.
    events: Any = client.meta.events
    events.register("before-sign.s3", renewal.note)
    events.register("needs-retry.s3", renewal.look)


def _from_file(method: str, profile: str | None) -> Any:
    """Return what the file holds now; None where it is not there or only half written."""
    session = botocore.session.Session(profile=profile)
    try:
        return session.get_component("credential_provider").get_provider(method).load()
    except (BotoCoreError, OSError, ValueError):
        return None


class Renewal:
    """What one client signs with, kept as new as the file."""

    def __init__(self, credentials: Any, load: LoadCredentials) -> None:
        self._credentials = credentials
        self._load = load

    def note(self, request: Any, **_: object) -> None:
        """Remember what a request is signed with: many are under way when the file changes."""
        request.context[_SIGNED_WITH] = _key(self._credentials)

    async def look(
        self, response: Any, request_dict: dict[str, Any], attempts: int, **_: object
    ) -> int | None:
        """Return 0, that is, at once, if a refused request is to be signed anew and repeated."""
        # A wrong key is refused like an old one, and a file may be written anew again and again:
        # that is no reason to ask for ever.
        if attempts > _MAX_RENEWALS or not _refused(response):
            return None
        found = await to_thread.run_sync(self._load)
        if found is not None:
            self._credentials.access_key = found.access_key
            self._credentials.secret_key = found.secret_key
            self._credentials.token = found.token
        # Compared with what *this* request was signed with: another one that was refused at the
        # same time may have read the file already.
        signed_with = request_dict["context"].get(_SIGNED_WITH)
        return None if signed_with in {None, _key(self._credentials)} else 0


def _key(credentials: Any) -> RenewalKey:
    return credentials.access_key, credentials.secret_key, credentials.token


def _refused(response: Any) -> bool:
    """Whether an answer, None where there was none, may be due to old credentials."""
    if response is None:
        return False
    http, parsed = response
    return http.status_code in _REFUSED or parsed.get("Error", {}).get("Code") in _CODES
