"""What can go wrong, as a small hierarchy.

Every message says what failed, on what, and, in `hint`, what to do about it::

    from forensics_core.errors import BucketNotFound, ForensicsError

    try:
        raise BucketNotFound("The bucket 'cases' does not exist", hint="Create it, or name another")
    except ForensicsError as error:
        assert (error.reason, error.hint) == ("BucketNotFound", "Create it, or name another")

`exit_code` is what the `forensics` command ends with: 1 failed, 2 wrong usage, 3 evidence does not
verify, 4 captured in part.
"""

from __future__ import annotations


class ForensicsError(Exception):
    """The base of every error that kube-forensics raises on purpose.

    `reason` is one CamelCase word, for programs: the error's own name, unless it has a finer one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = type(self).__name__

    def __str__(self) -> str:
        message = self.message.rstrip(".")
        return f"{message}. {self.hint}." if self.hint else f"{message}."


class UsageError(ForensicsError):
    """The caller asked for something that cannot be: a malformed URL, an unknown artifact."""

    exit_code = 2


class DestinationError(ForensicsError):
    """The place that evidence goes to, or comes from, does not do what was asked."""


class DestinationUnreachable(DestinationError):
    """Nothing answers at the destination, or it stopped answering."""


class BucketNotFound(DestinationError):
    """The bucket or folder does not exist."""


class AccessDenied(DestinationError):
    """The destination refused the credentials, or the right to do this."""


class CredentialsExpired(AccessDenied):
    """The session whose credentials were used is over; new ones may well do."""


class ObjectNotFound(DestinationError):
    """There is no such object, or no such version of it."""


class TooManyObjects(DestinationError):
    """More lies there than in any bundle: somebody fills the place up."""


class ObjectExists(DestinationError):
    """An object of that name is there already; evidence is never overwritten."""


class ObjectLockMissing(DestinationError):
    """Retention was asked for, but the bucket has no Object Lock."""


class DestinationFull(DestinationError):
    """No space is left at the destination."""


class RuntimeUnavailable(ForensicsError):
    """The container runtime is not running, not reachable, or not permitted."""


class RuntimeNotFound(RuntimeUnavailable):
    """There is no such container runtime on this machine: another try would find none either."""


class ContainerNotFound(ForensicsError):
    """The runtime, or the bundle, knows no such container."""


class ContainerGone(ForensicsError):
    """The container was removed while it was being captured."""


class SourceError(ForensicsError):
    """A source of evidence broke off before its end."""


class ObjectTooLarge(SourceError):
    """A stream is longer than the destination can hold in one object; all else still fits."""


class BundleNotFound(ForensicsError):
    """There is no bundle at that location, or it has no manifest yet."""


class NotInBundle(ForensicsError):
    """The bundle does not have what was asked of it; the hint says why, where anybody knows."""


class VerificationError(ForensicsError):
    """The evidence is not what its manifest says."""

    exit_code = 3


class ClusterError(ForensicsError):
    """The cluster's API did not do what was asked."""


class ClusterNotConfigured(ClusterError):
    """Nothing says which cluster to talk to, or what says so cannot be read."""


class ApiUnavailable(ClusterError):
    """The API server is away, overloaded or broken: the same request may succeed later.

    `retry_after` is in seconds where the server asked for a pause, and promised by that that it
    did nothing; None otherwise.
    """

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class StreamIdle(ApiUnavailable):
    """An open stream was silent for so long that it may be dead."""


class AnswerTooLarge(ClusterError):
    """The API server's answer is larger than whoever asked has memory for."""


class Unauthorized(ClusterError):
    """The API server does not know who is asking."""


class Forbidden(ClusterError):
    """The API server knows who is asking, and says no."""


class NotFound(ClusterError):
    """There is no such object, or no such kind of objects."""


class Conflict(ClusterError):
    """Somebody else changed the object in between."""


class AlreadyExists(Conflict):
    """There is an object of that name."""


class Expired(ClusterError):
    """The API server's history does not go back so far."""


class Invalid(ClusterError):
    """The API server cannot accept the object or the request as it is."""


class TooManyPods(ForensicsError):
    """More pods match than one request may capture: none of them is."""


class CheckpointFailed(ForensicsError):
    """The cluster gave a capture up: there is no evidence to rely on.

    `reason` is one CamelCase word, as in the condition `Failed`: `NotFound`, `NotSealed`.
    """

    def __init__(self, message: str, *, hint: str = "", reason: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class LeaseLost(ClusterError):
    """Somebody else may lead now."""
