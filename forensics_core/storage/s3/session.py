"""Sessions of aiobotocore, which keep what is read from files once: settings, keys, models.

`aioboto3` makes clients of them; of its own defaults it would read more files than that.
"""

from __future__ import annotations

import gzip
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiobotocore.session import AioSession
from botocore.exceptions import PartialCredentialsError
from botocore.loaders import JSONFileLoader, Loader
from botocore.utils import parse_timestamp

if TYPE_CHECKING:
    from forensics_core.storage.s3.client import S3Access

_ASKED = ("s3", "sts", "oidc", "portal.sso")
"""Services that somebody asks: the last two are where people log in."""

_READ = {"Body", "ContentEncoding", "ContentLength", "ETag", "VersionId", "ChecksumCRC64NVME"}
"""What somebody reads of the answer that an object was stored, of its description or itself."""


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
    loader = _Models(_folders(session), file_loader=_PlainFiles())
    session.register_component("data_loader", loader)
    _forget_unread(loader.load_service_model("s3", "service-2"))
    _share_endpoints(loader.load_service_model("s3", "endpoint-rule-set-1"))
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    _forget_other_services(loader.load_data("endpoints"))
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


def _forget_unread(model: dict[str, Any]) -> None:
    """Drop what nobody reads: texts for people, and headers of the answers there are most of.

    Each header of an answer's model is looked for in each answer.
    """
    forget_documentation(model)
    for shape in ("PutObjectOutput", "HeadObjectOutput", "GetObjectOutput"):
        members = model["shapes"][shape]["members"]
        for name in members.keys() - _READ:
            del members[name]


def forget_documentation(part: Any) -> None:
    """Drop the texts for people, four fifths of a service's model."""
    if isinstance(part, dict):
        # A text, not a member of a structure that has this name; some have to be there.
        if isinstance(part.get("documentation"), str):
            part["documentation"] = ""
        part = part.values()
    elif not isinstance(part, list):
        return
    for each in part:
        forget_documentation(each)


def _forget_other_services(endpoints: dict[str, Any]) -> None:
    """Drop the endpoints of services that neither we nor AWS's ways to credentials ask."""
    for partition in endpoints["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in _ASKED if name in services}


def _folders(session: AioSession) -> list[str]:
    """Return where the user keeps models of their own."""
    paths: str | None = session.get_config_variable("data_path")
    return [
        str(Path(os.path.expandvars(path)).expanduser())
        for path in (paths or "").split(os.pathsep)
        if path
    ]


class _PlainFiles(JSONFileLoader):
    """Makes plain dictionaries of what it reads: botocore's ordered ones take twice the time."""

    def load_file(self, file_path: str) -> Any:
        """Return what a file holds, whose path lacks the ending; None where there is none."""
        for ending, opening in ((".json", open), (".json.gz", gzip.open)):
            with suppress(FileNotFoundError), opening(file_path + ending, "rb") as file:
                return json.loads(file.read())
        return None


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
