"""Failures in the words of the API server: `metav1.Status` bodies of the recorded shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forensics_core.errors import ForensicsError
from forensics_loopback.kinds.objects import Obj
from forensics_loopback.kinds.resources import ServedResource


class ApiError(ForensicsError):
    """A request that is answered with a failure `Status`."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Obj | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.headers = headers or {}

    def body(self) -> Obj:
        """The `Status` that goes to the client."""
        status: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for which an object is invalid."""

    field: str
    """A path: `spec.containers[0].name`."""
    message: str
    reason: str = "FieldValueInvalid"

    def body(self) -> Obj:
        """The cause as it stands in the details of a `Status`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


def _details(resource: ServedResource, name: str, kind: str) -> Obj:
    details = {"name": name, "group": resource.storage_group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def not_found(resource: ServedResource, name: str) -> ApiError:
    """404: no object of that name."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(resource, name, resource.plural))


def already_exists(resource: ServedResource, name: str) -> ApiError:
    """409: the name is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name, resource.plural))


def conflict(resource: ServedResource, name: str, why: str = "") -> ApiError:
    """409: the object changed since the caller read it."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and "
        "try again"
    )
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name, resource.plural))


def precondition_failed(
    resource: ServedResource, name: str, expected: str, actual: str
) -> ApiError:
    """409: the UID that the caller insisted on is another object's."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified_kind} "{name}": the UID in the '
        f"precondition ({expected}) does not match the UID in record ({actual}). The object might "
        "have been deleted and then recreated"
    )
    return ApiError(409, "Conflict", message, _details(resource, name, resource.kind))


def invalid(resource: ServedResource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks a rule of its type."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(resource, name, resource.kind)
    details["causes"] = [cause.body() for cause in causes]
    message = f'{resource.qualified_kind} "{name}" is invalid: {joined}'
    return ApiError(422, "Invalid", message, details)


def bad_request(message: str) -> ApiError:
    """400: the request makes no sense."""
    return ApiError(400, "BadRequest", message)


def method_not_allowed() -> ApiError:
    """405: the resource does not support the verb."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """415: the body is of a type that is not understood here."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)


def expired(revision: int, oldest: int) -> ApiError:
    """410: the history that the caller asks for is gone."""
    return ApiError(410, "Expired", f"too old resource version: {revision} ({oldest})")


def too_large_revision(revision: int, current: int) -> ApiError:
    """504: a list that is not older than the future."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    details: Obj = {"causes": causes, "retryAfterSeconds": 1}
    return ApiError(504, "Timeout", message, details, headers={"Retry-After": "1"})


def success(resource: ServedResource, name: str, uid: str) -> Obj:
    """The `Status` that answers a deletion."""
    details = {**_details(resource, name, resource.plural), "uid": uid}
    body: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**body, "details": details}
