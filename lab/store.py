"""What `lab.sink` keeps instead of bytes: names, sizes and requests; and how S3 would answer.

Small objects can be kept whole, for clients that read back what they stored.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from lab.http import Head, HttpResponse

CHECKSUM = "x-amz-checksum-"
DECODED = "x-amz-decoded-content-length"
"""A body with a checksum behind it is framed once more; this is its length without."""
_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class StoreRequest:
    """A request as it came in, for assertions."""

    method: str
    operation: str
    """As S3 calls it: `UploadPart`."""
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    """With names in lower case."""
    size: int = 0
    """Bytes of the body that were read."""
    body: bytes = b""
    """Kept for POST, and while a small object is being stored."""
    status: int = 0
    """Of the answer; 0 if there was none."""

    @property
    def part(self) -> int | None:
        """The part's number."""
        number = self.query.get("partNumber", "")
        return int(number) if number.isdigit() else None


@dataclass
class Upload:
    """A multipart upload that was neither completed nor aborted."""

    bucket: str
    key: str
    headers: dict[str, str]
    parts: dict[int, int] = field(default_factory=dict)
    """Sizes in bytes, by number."""


@dataclass
class DiscardingStore:
    """Objects without content. Buckets need not be made; every one exists but `missing`."""

    objects: dict[str, int] = field(default_factory=dict)
    """Sizes in bytes, by `bucket/key`."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    """Open multipart uploads, by ID."""
    requests: list[StoreRequest] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Buckets that do not exist."""
    keep: int = 0
    """Objects of at most so many bytes, put in one request, can be read back."""
    contents: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    """Their bytes, and the headers that go with them, by `bucket/key`."""
    object_lock: bool = False
    """Whether buckets are versioned and have Object Lock."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, head: Head) -> StoreRequest:
        """Note a request that is about to be read."""
        bucket, _, key = head.path.lstrip("/").partition("/")
        name = operation_of(head.method, key, head.query, head.headers)
        request = StoreRequest(head.method, name, bucket, key, head.query, head.headers)
        with self._lock:
            self.requests.append(request)
        return request

    def count(self, operation: str, key: str = "") -> int:
        """Return how many requests of that kind came in, whatever became of them."""
        return len(self.sent(operation, key))

    def sent(self, operation: str, key: str = "") -> list[StoreRequest]:
        """Return the requests of that kind, in order; `key` is a piece of the object's key."""
        with self._lock:
            return [r for r in self.requests if r.operation == operation and key in r.key]

    def statistics(self) -> dict[str, Any]:
        """Return what was stored and received, as JSON types."""
        with self._lock:
            return {
                "objects": dict(self.objects),
                "uploads": len(self.uploads),
                "requests": len(self.requests),
                "bytes": sum(request.size for request in self.requests),
            }

    def answer(self, request: StoreRequest, size: int) -> HttpResponse:
        """Carry a request out, and return S3's answer."""
        if request.bucket in self.missing:
            return error(404, "NoSuchBucket")
        carry_out = _OPERATIONS.get(request.operation)
        if carry_out is None:
            return error(501, "NotImplemented")
        with self._lock:
            return carry_out(self, request, int(request.headers.get(DECODED, size)))

    def version(self) -> dict[str, str]:
        """Return the header that names a new version, where there are versions."""
        return {"x-amz-version-id": secrets.token_hex(16)} if self.object_lock else {}


def operation_of(method: str, key: str, query: dict[str, str], headers: dict[str, str]) -> str:
    """Return S3's name for a request, or the method and subresource where it is not known here."""
    level = "object" if key else "bucket"
    marks = [mark for mark in _MARKS if mark in query]
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "CopyObject"
    found = _NAMES.get((method, level, marks[0] if marks else ""))
    return found or " ".join([method, level, *query])


_MARKS = ("uploadId", "uploads", "location", "object-lock", "versioning", "versions", "list-type")
_NAMES = {
    ("HEAD", "bucket", ""): "HeadBucket",
    ("GET", "bucket", "location"): "GetBucketLocation",
    ("GET", "bucket", "object-lock"): "GetObjectLockConfiguration",
    ("GET", "bucket", "versioning"): "GetBucketVersioning",
    ("GET", "bucket", "uploads"): "ListMultipartUploads",
    ("GET", "bucket", "versions"): "ListObjectVersions",
    ("GET", "bucket", "list-type"): "ListObjectsV2",
    ("HEAD", "object", ""): "HeadObject",
    ("GET", "object", ""): "GetObject",
    ("PUT", "object", ""): "PutObject",
    ("POST", "object", "uploads"): "CreateMultipartUpload",
    ("PUT", "object", "uploadId"): "UploadPart",
    ("GET", "object", "uploadId"): "ListParts",
    ("POST", "object", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "object", "uploadId"): "AbortMultipartUpload",
}


def error(status: int, code: str) -> HttpResponse:
    """Return an error the way S3 spells it."""
    return xml(f"<Error><Code>{code}</Code><Message>{code}, says the lab</Message></Error>", status)


def xml(text: str, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """Return an answer whose body is XML."""
    declared = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return HttpResponse(status, declared, {"Content-Type": "application/xml", **(headers or {})})


def _name(request: StoreRequest) -> str:
    return f"{request.bucket}/{request.key}"


def _taken(store: DiscardingStore, request: StoreRequest) -> HttpResponse | None:
    """Refuse what `If-None-Match: *` forbids."""
    wants_new = request.headers.get("if-none-match") == "*"
    return (
        error(412, "PreconditionFailed") if wants_new and _name(request) in store.objects else None
    )


def _checksums(request: StoreRequest) -> dict[str, str]:
    """Return the checksum headers of a request, for S3 repeats them."""
    return {name: value for name, value in request.headers.items() if name.startswith(CHECKSUM)}


def _etag() -> dict[str, str]:
    return {"ETag": f'"{secrets.token_hex(16)}"'}


def _put(store: DiscardingStore, request: StoreRequest, size: int) -> HttpResponse:
    if refused := _taken(store, request):
        return refused
    store.objects[_name(request)] = size
    headers = {**_etag(), **_checksums(request), **store.version()}
    if size <= store.keep:
        store.contents[_name(request)] = (request.body, headers)
        request.body = b""
    return HttpResponse(headers=headers)


def _create(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    upload = secrets.token_hex(16)
    store.uploads[upload] = Upload(request.bucket, request.key, request.headers)
    where = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
    return xml(
        f"<InitiateMultipartUploadResult {_XMLNS}>{where}<UploadId>{upload}</UploadId>"
        "</InitiateMultipartUploadResult>"
    )


def _part(store: DiscardingStore, request: StoreRequest, size: int) -> HttpResponse:
    upload = store.uploads.get(request.query["uploadId"])
    if upload is None or request.part is None:
        return error(404, "NoSuchUpload")
    upload.parts[request.part] = size
    return HttpResponse(headers={**_etag(), **_checksums(request)})


def _complete(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    if refused := _taken(store, request):
        return refused
    upload = store.uploads.pop(request.query["uploadId"], None)
    if upload is None:
        return error(404, "NoSuchUpload")
    store.objects[_name(request)] = sum(upload.parts.values())
    sums = {
        n.removeprefix(CHECKSUM): v
        for n, v in _checksums(request).items()
        if n != f"{CHECKSUM}type"
    }
    said = "".join(f"<Checksum{n.upper()}>{v}</Checksum{n.upper()}>" for n, v in sums.items())
    where = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
    tag = f'<ETag>"{secrets.token_hex(16)}-{len(upload.parts)}"</ETag>'
    name = "CompleteMultipartUploadResult"
    return xml(f"<{name} {_XMLNS}>{where}{tag}{said}</{name}>", headers=store.version())


def _abort(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    gone = store.uploads.pop(request.query["uploadId"], None)
    return HttpResponse(204) if gone else error(404, "NoSuchUpload")


def _head_bucket(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    return HttpResponse(headers={"x-amz-bucket-region": "us-east-1"})


def _location(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    return xml(f"<LocationConstraint {_XMLNS}/>")


def _lock_configuration(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    if not store.object_lock:
        return error(404, "ObjectLockConfigurationNotFoundError")
    on = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    return xml(f"<ObjectLockConfiguration {_XMLNS}>{on}</ObjectLockConfiguration>")


def _versioning(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    on = "<Status>Enabled</Status>" if store.object_lock else ""
    return xml(f"<VersioningConfiguration {_XMLNS}>{on}</VersioningConfiguration>")


def _list_uploads(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    mine = ((i, u) for i, u in store.uploads.items() if u.bucket == request.bucket)
    rows = (f"<Upload><Key>{escape(u.key)}</Key><UploadId>{i}</UploadId></Upload>" for i, u in mine)
    name = "ListMultipartUploadsResult"
    return xml(f"<{name} {_XMLNS}><IsTruncated>false</IsTruncated>{''.join(rows)}</{name}>")


def _list_parts(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    upload = store.uploads.get(request.query["uploadId"])
    if upload is None:
        return error(404, "NoSuchUpload")
    rows = (
        f"<Part><PartNumber>{number}</PartNumber><Size>{size}</Size></Part>"
        for number, size in sorted(upload.parts.items())
    )
    name = "ListPartsResult"
    return xml(f"<{name} {_XMLNS}><IsTruncated>false</IsTruncated>{''.join(rows)}</{name}>")


def _list_versions(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    """List as a bucket that was never versioned does; all on one page."""
    prefix = f"{request.bucket}/{request.query.get('prefix', '')}"
    rows = (
        f"<Version><Key>{escape(name.removeprefix(f'{request.bucket}/'))}</Key><Size>{size}</Size>"
        "<VersionId>null</VersionId><IsLatest>true</IsLatest>"
        f"<LastModified>2026-01-01T00:00:00.000Z</LastModified>{_tag(store, name)}</Version>"
        for name, size in store.objects.items()
        if name.startswith(prefix)
    )
    name = "ListVersionsResult"
    return xml(f"<{name} {_XMLNS}><IsTruncated>false</IsTruncated>{''.join(rows)}</{name}>")


def _tag(store: DiscardingStore, name: str) -> str:
    headers = store.contents[name][1] if name in store.contents else _etag()
    return f"<ETag>{escape(headers['ETag'])}</ETag>"


def _head(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    size = store.objects.get(_name(request))
    if size is None:
        return HttpResponse(404)
    headers = store.contents[_name(request)][1] if _name(request) in store.contents else _etag()
    return HttpResponse(headers={**headers, "Content-Length": str(size)})


def _get(store: DiscardingStore, request: StoreRequest, _: int) -> HttpResponse:
    if _name(request) not in store.objects:
        return error(404, "NoSuchKey")
    if _name(request) not in store.contents:
        return error(501, "NotImplemented")
    body, headers = store.contents[_name(request)]
    return HttpResponse(body=body, headers=headers)


_OPERATIONS = {
    "HeadBucket": _head_bucket,
    "GetBucketLocation": _location,
    "GetObjectLockConfiguration": _lock_configuration,
    "GetBucketVersioning": _versioning,
    "ListMultipartUploads": _list_uploads,
    "ListObjectVersions": _list_versions,
    "HeadObject": _head,
    "GetObject": _get,
    "PutObject": _put,
    "CreateMultipartUpload": _create,
    "UploadPart": _part,
    "ListParts": _list_parts,
    "CompleteMultipartUpload": _complete,
    "AbortMultipartUpload": _abort,
}
