"""As much protobuf as kubectl insists on: `auth can-i` and `create namespace` send nothing else.

The envelope is `k8s\\0` and a `runtime.Unknown`; field numbers are those of the published
`generated.proto` files of apimachinery and of `k8s.io/api`. Labels and annotations are not read.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from forensics_loopback.kinds.objects import Obj
from forensics_loopback.kinds.status import ApiError, bad_request, unsupported_media

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_ATTRIBUTES = {
    1: "namespace",
    2: "verb",
    3: "group",
    4: "version",
    5: "resource",
    6: "subresource",
    7: "name",
}
_SELF_SPEC: dict[int, Any] = {
    1: ("resourceAttributes", _ATTRIBUTES),
    2: ("nonResourceAttributes", {1: "path", 2: "verb"}),
}
_METADATA = {1: "name", 3: "namespace"}
_MAP = "a map of bytes"
_MESSAGES: dict[str, dict[int, Any]] = {
    "Namespace": {1: ("metadata", _METADATA)},
    "ServiceAccount": {1: ("metadata", _METADATA)},
    "Secret": {1: ("metadata", _METADATA), 2: ("data", _MAP), 3: "type"},
    "SelfSubjectAccessReview": {2: ("spec", _SELF_SPEC)},
}


def decode(body: bytes) -> Obj:
    """An object sent as protobuf; raises 415 for a kind that is not read, 400 for nonsense."""
    try:
        return _decode(body)
    except (IndexError, UnicodeDecodeError, KeyError) as error:
        raise bad_request("the body of the request is not protobuf as Kubernetes has it") from error


def _decode(body: bytes) -> Obj:
    if not body.startswith(_MAGIC):
        raise _unsupported()
    envelope = dict(_fields(body[len(_MAGIC) :]))
    type_meta = {number: value.decode() for number, value in _fields(envelope[1])}
    api_version, kind = type_meta[1], type_meta[2]
    if kind not in _MESSAGES:
        raise _unsupported()
    message = _message(envelope.get(2, b""), _MESSAGES[kind])
    return {"apiVersion": api_version, "kind": kind, **message}


def _unsupported() -> ApiError:
    return unsupported_media(["application/json", "application/yaml"])


def _message(data: bytes, shape: Mapping[int, Any]) -> Obj:
    message: Obj = {}
    for number, value in _fields(data):
        field = shape.get(number)
        if isinstance(field, str):
            message[field] = value.decode()
        elif field is not None and field[1] is _MAP:
            entry = dict(_fields(value))
            encoded = base64.b64encode(entry.get(2, b"")).decode()
            message.setdefault(field[0], {})[entry[1].decode()] = encoded
        elif field is not None:
            message[field[0]] = _message(value, field[1])
    return message


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; numbers are skipped."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        length, position = _varint(data, position)
        if tag & 7 == 2:
            yield tag >> 3, data[position : position + length]
            position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
