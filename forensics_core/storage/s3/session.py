"""Sessions of aiobotocore, which keep what is read from files once: settings, keys, models.

`aioboto3` makes clients of them; of its own defaults it would read more files than that.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiobotocore.session import AioSession
from botocore.exceptions import PartialCredentialsError
from botocore.loaders import Loader
from botocore.utils import parse_timestamp

if TYPE_CHECKING:
    from forensics_core.storage.s3.client import S3Access


def make_session(access: S3Access) -> AioSession:
    """Make a session with its data read already: reading them would block the loop.

    Raises `PartialCredentialsError` for half of a key.
    """
    session = AioSession()
    if access.region is not None:
        session.set_config_variable("region", access.region)
    key, secret = access.access_key_id, access.secret_access_key
    if key and secret:
        session.set_credentials(key, secret, access.session_token)
    elif key or secret or access.session_token:
        raise PartialCredentialsError(provider="S3Access", cred_var="a key, or its secret")
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_timestamp)
    loader = _Models(_folders(session))
    session.register_component("data_loader", loader)
    loader.load_service_model("s3", "service-2")
    _share_endpoints(loader.load_service_model("s3", "endpoint-rule-set-1"))
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    return session


def _share_endpoints(rules: dict[str, Any]) -> None:
    """Have botocore work out a bucket's endpoint once, not again for every object.

    It remembers endpoints by all parameters of its rules, and the key is one that no rule looks at.
    """
    used = json.dumps(rules["rules"])
    for name in ("Key", "Prefix"):
        if f'"ref": "{name}"' not in used:
            rules["parameters"].pop(name, None)


def _timestamp(text: Any) -> datetime:
    """Parse a time; that of a listing's row by a tenth of the time that botocore's parser takes."""
    # Without a "T" it may be seconds, which look like a date.
    if isinstance(text, str) and "T" in text:
        with suppress(ValueError):
            found = datetime.fromisoformat(text)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
    parsed: datetime = parse_timestamp(text)
    return parsed


def _folders(session: AioSession) -> list[str]:
    """Return where the user keeps models of their own."""
    paths: str | None = session.get_config_variable("data_path")
    return [
        str(Path(os.path.expandvars(path)).expanduser())
        for path in (paths or "").split(os.pathsep)
        if path
    ]


class _Models(Loader):
    """Takes a service's folder for the proof that there is the service.

    Botocore looks into the folders of all 400, three times.
    """

    def list_available_services(self, type_name: str) -> list[str]:
        """Return the names of all services, and perhaps of some that have nothing of that type."""
        return [
            name
            for folder in self.search_paths
            if os.path.isdir(folder)  # noqa: PTH112  # botocore's paths are strings
            for name in os.listdir(folder)  # noqa: PTH208
        ]
