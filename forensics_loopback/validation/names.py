"""The rules for names and labels, and their messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from forensics_loopback.kinds.objects import Obj, metadata
from forensics_loopback.kinds.resources import ServedResource
from forensics_loopback.kinds.status import Cause

_LABEL_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL_PART}(\.{_LABEL_PART})*"
_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_SUBDOMAIN_HELP = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    rf"for validation is '{_LABEL_PART}(\.{_LABEL_PART})*')"
)
_VALUE_HELP = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    f"'12345', regex used for validation is '{_VALUE}')"
)


def check(obj: Obj, resource: ServedResource) -> Iterator[Cause]:
    """What is wrong with an object's name and labels."""
    name = metadata(obj).get("name", "")
    if not name:
        text = "Required value: name or generateName is required"
        yield Cause("metadata.name", text, "FieldValueRequired")
    elif not resource.group.startswith("rbac."):
        yield from _check_name(name, _longest(resource))
    for key, value in (metadata(obj).get("labels") or {}).items():
        yield from _check_label(key, value)


def _longest(resource: ServedResource) -> int:
    # A Job's name becomes the value of a label on its pods.
    return 63 if resource.qualified in {"namespaces", "jobs.batch", "services"} else 253


def _check_name(name: str, longest: int) -> Iterator[Cause]:
    shown = json.dumps(name)
    if len(name) > longest:
        text = f"Invalid value: {shown}: must be no more than {longest} bytes"
        yield Cause("metadata.name", text)
    if not re.fullmatch(_SUBDOMAIN, name):
        yield Cause("metadata.name", f"Invalid value: {shown}: {_SUBDOMAIN_HELP}")


def _check_label(key: str, value: object) -> Iterator[Cause]:
    shown = json.dumps(value)
    if not isinstance(value, str) or not re.fullmatch(_VALUE, value):
        yield Cause("metadata.labels", f"Invalid value: {shown}: {_VALUE_HELP}")
    elif len(value) > 63:
        yield Cause("metadata.labels", f"Invalid value: {shown}: must be no more than 63 bytes")
    if len(key.rpartition("/")[2]) > 63:
        text = f"Invalid value: {json.dumps(key)}: name part must be no more than 63 bytes"
        yield Cause("metadata.labels", text)
