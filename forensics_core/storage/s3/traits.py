"""What a store can do, as far as it has shown: demands are given up where it clearly refuses them.

AWS takes everything that is asked of it here. Others refuse a checksum that they do not know, an
access list, or a conditional write, each with a 400 or a 501, and would do so every time. One such
answer, and the demand is left out for the rest of the destination; the manifest says so.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.parts import PartBody

CRC64, SHA256, MD5, NONE, AUTO = "crc64nvme", "sha256", "md5", "none", "auto"
_REFUSED = {400, 501}
_CODES = {
    *("NotImplemented", "InvalidArgument", "InvalidRequest", "UnsupportedHeader", "BadRequest"),
    *("AccessControlListNotSupported", "InvalidHeader", "UnsupportedArgument", "400", "501"),
}
_WORDS = {
    "checksum": ("checksum", "crc64", "content-md5", "sdk-checksum"),
    "condition": ("if-none-match", "conditional", "precondition"),
    "acl": ("acl", "access control"),
}


@dataclass(slots=True)
class Traits:
    """One store's, shared by all objects that go to it."""

    checksum: str
    """How parts are checked: `crc64nvme`, `sha256`, `md5` (Content-MD5), `none`."""
    may_step_down: bool
    """Whether a lesser checksum may be tried."""
    acl: bool
    conditional: bool = True
    """Whether a write is refused where the key is taken."""

    @classmethod
    def of(cls, access: S3Access, endpoint: str) -> Traits:
        """Return what to expect of the store at `endpoint` before it has answered."""
        wanted = access.checksum or AUTO
        # AWS alone: there the bucket's owner could otherwise not read what another account stored.
        # Google, with uniform access, and R2 refuse any.
        acl = access.acl if access.acl is not None else is_aws(endpoint)
        return cls(CRC64 if wanted == AUTO else wanted, wanted == AUTO, acl)

    @property
    def shown(self) -> dict[str, object]:
        """What the manifest says of the store."""
        return {"checksum": self.checksum, "conditional_writes": self.conditional}

    def with_acl(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return an object's parameters, with the access list where the store has any."""
        return parameters | ({"ACL": "bucket-owner-full-control"} if self.acl else {})

    def checks(self, body: PartBody, crc: str) -> dict[str, Any]:
        """Return the parameters by which the store checks the bytes that arrive."""
        if self.checksum == CRC64:
            return {"ChecksumCRC64NVME": crc}
        if self.checksum == SHA256:
            return {"ChecksumSHA256": base64.b64encode(body.sha256()).decode()}
        if self.checksum == MD5:
            return {"ContentMD5": base64.b64encode(body.md5()).decode()}
        return {}

    def declared(self) -> dict[str, Any]:
        """Return what the request that begins an upload says of its parts' checksums."""
        if self.checksum == CRC64:
            return {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        # A SHA-256 of parts cannot be put together to one of the whole: S3 joins them by name.
        return {"ChecksumAlgorithm": "SHA256"} if self.checksum == SHA256 else {}

    def condition(self) -> dict[str, Any]:
        """Return the parameter that keeps a write from replacing anything."""
        return {"IfNoneMatch": "*"} if self.conditional else {}

    def step_down(self, error: BaseException, asked: Traits, *, locking: bool) -> bool:
        """Give one demand up if the store has clearly refused it; return whether to ask again.

        `asked` is what the refused request demanded. Where Object Lock is asked for as well, a
        refusal has to name what it refuses.
        """
        if not isinstance(error, ClientError) or not _is_refusal(error):
            return False
        if self != asked:
            # Several parts are refused at once for one reason: the first of them gave it up.
            return True
        said = " ".join(str(part) for part in error.response.get("Error", {}).values()).lower()
        named = [what for what, words in _WORDS.items() if any(word in said for word in words)]
        if not named and locking:
            return False
        # One at a time, and the checksum first where nothing is named: it is refused most often,
        # and missed least, as the manifest has a digest of its own.
        return any(self._give_up(what) for what in named or _WORDS)

    def _give_up(self, what: str) -> bool:
        if what == "checksum":
            if not self.may_step_down or self.checksum == NONE:
                return False
            # Next is the oldest of them; with Object Lock, some stores want nothing else.
            self.checksum = MD5 if self.checksum == CRC64 else NONE
        elif what == "condition":
            if not self.conditional:
                return False
            self.conditional = False
        else:
            if not self.acl:
                return False
            self.acl = False
        return True


def is_aws(endpoint: str) -> bool:
    """Whether an endpoint is AWS's own."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _is_refusal(error: ClientError) -> bool:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    return status in _REFUSED and code in _CODES
