"""A strict S3 server: SeaweedFS on loopback, with the three identities of the design.

It verifies signatures and checksums, enforces Object Lock and knows bucket policies::

    async with s3_server() as s3:
        bucket = await s3.create_bucket("cases", object_lock=True)
        async with s3.client(Identity.COLLECTOR) as client:
            await client.put_object(Bucket=bucket, Key="a", Body=b"evidence")
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aioboto3

from lab.process import (
    LabError,
    daemon,
    free_ports,
    in_thread,
    listening_ports,
    wait_until_ready,
)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

REGION = "us-east-1"
ROLE = "arn:aws:iam::111122223333:role/collector"
"""The role of servers with `roles`."""
ATTEMPTS = 3
"""How often a start is tried."""


class S3Identity(StrEnum):
    """Who speaks to the server."""

    ADMIN = "admin"
    """May do everything."""
    COLLECTOR = "collector"
    """May only add objects, and only where a bucket's policy lets it."""
    READER = "reader"
    """May read and list everything."""

    @property
    def access_key(self) -> str:
        """The access key ID."""
        return f"lab-{self.value}"

    @property
    def secret_key(self) -> str:
        """The secret access key."""
        return f"lab-{self.value}-secret"


_ACTIONS: dict[S3Identity, list[str]] = {
    S3Identity.ADMIN: ["Admin"],
    S3Identity.COLLECTOR: [],
    S3Identity.READER: ["Read", "List"],
}


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server."""

    endpoint: str
    """`http://127.0.0.1:PORT`."""

    def env(self, identity: S3Identity = S3Identity.ADMIN) -> dict[str, str]:
        """Return the standard AWS variables that lead a client here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": identity.access_key,
            "AWS_SECRET_ACCESS_KEY": identity.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # Clients that miss something would ask the cloud's own address, and wait for it.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(
        self, identity: S3Identity = S3Identity.ADMIN
    ) -> AbstractAsyncContextManager[S3Client]:
        """Return a client of the server, to be used in `async with`."""
        session = aioboto3.Session(
            aws_access_key_id=identity.access_key,
            aws_secret_access_key=identity.secret_key,
            region_name=REGION,
        )
        client: AbstractAsyncContextManager[S3Client]
        client = session.client("s3", endpoint_url=self.endpoint)
        return client

    async def create_bucket(
        self, name: str, *, object_lock: bool = False, policy: dict[str, Any] | None = None
    ) -> str:
        """Create a bucket, by default with `collector_policy`; with `object_lock` it is versioned.

        An empty policy leaves the bucket without one. Returns the name.
        """
        rules = collector_policy(name) if policy is None else policy
        async with self.client() as client:
            await client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
            if rules:
                await client.put_bucket_policy(Bucket=name, Policy=json.dumps(rules))
        return name


def collector_policy(bucket: str) -> dict[str, Any]:
    """Return the bucket policy that lets the collector add objects, and nothing else."""
    who = {"AWS": f"arn:aws:iam::000000000000:user/{S3Identity.COLLECTOR}"}
    objects = f"arn:aws:s3:::{bucket}/*"
    added = ["PutObject", "PutObjectRetention", "PutObjectLegalHold", "PutObjectAcl"]
    upload = ["AbortMultipartUpload", "ListMultipartUploadParts"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            _statement("Allow", who, [*added, *upload], objects),
            _statement("Deny", who, ["Delete*", "Get*"], objects),
        ],
    }


def _statement(effect: str, who: dict[str, str], actions: list[str], on: str) -> dict[str, Any]:
    names = [f"s3:{action}" for action in actions]
    return {"Effect": effect, "Principal": who, "Action": names, "Resource": [on]}


def s3_server(*, roles: bool = False) -> AbstractAsyncContextManager[S3Server]:
    """Start a server for the block. Raises `LabError` if it does not come up.

    With `roles` its token service lets every identity assume `ROLE`, which may do everything.
    """
    return in_thread(running_s3_server(roles=roles))


@contextmanager
def running_s3_server(
    *, roles: bool = False, ports: Callable[[int], list[int]] = free_ports
) -> Iterator[S3Server]:
    """Do the same as `s3_server`, for callers without an event loop; `ports` returns free ones."""
    with ExitStack() as stack:
        yield S3Server(_start(stack, roles, ports))


def _start(stack: ExitStack, roles: bool, ports: Callable[[int], list[int]]) -> str:
    """Start a server that `stack` will stop; another process may have taken a port: try again."""
    for _ in range(ATTEMPTS - 1):
        with suppress(LabError):
            return stack.enter_context(_serve(roles, ports))
    return stack.enter_context(_serve(roles, ports))


@dataclass(frozen=True, slots=True)
class _Ports:
    """Every port is named, because each gRPC port would otherwise be another's plus 10,000."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3: int
    s3_grpc: int

    def flags(self) -> list[str]:
        parts = ("master", "volume", "filer", "s3")
        plain = [f"-{part}.port={getattr(self, part)}" for part in parts]
        return plain + [f"-{part}.port.grpc={getattr(self, f'{part}_grpc')}" for part in parts]

    def sockets(self) -> list[Path]:
        """The sockets that the server makes besides, and leaves behind when it is killed."""
        names = ("master", "volume", "filer", "s3")
        grpc = [(name, getattr(self, f"{name}_grpc")) for name in names]
        return [Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock") for name, port in grpc]  # noqa: S108


@contextmanager
def _serve(roles: bool, offer: Callable[[int], list[int]]) -> Iterator[str]:
    ports = _Ports(*offer(8))
    endpoint = f"http://127.0.0.1:{ports.s3}"
    env = {"WEED_S3_SSE_KEY": "lab"}
    with tempfile.TemporaryDirectory(prefix="lab-s3-", ignore_cleanup_errors=True) as name:
        log = Path(name) / "log"
        try:
            command = _command(Path(name), ports) + (_roles(Path(name)) if roles else [])
            with daemon(command, log, env=env) as process:
                wait_until_ready("weed", lambda: _ready(endpoint, ports, process.pid), process, log)
                yield endpoint
        finally:
            for path in ports.sockets():
                path.unlink(missing_ok=True)


def _command(folder: Path, ports: _Ports) -> list[str | Path]:
    """Build the command line; every bucket takes several of the volumes, which begin empty."""
    data, config = folder / "data", folder / "s3.json"
    data.mkdir()
    config.write_text(json.dumps({"identities": [_identity(each) for each in S3Identity]}))
    fixed = "-ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -volume.preStopSeconds=0 -volume.max=5000"
    idle = "-master.volumeSizeLimitMB=1024 -s3.port.iceberg=0 -s3.port.lance=0"
    own = [f"-dir={data}", f"-s3.config={config}"]
    local = [f"-{part}.localSocket={folder / part}.sock" for part in ("filer", "s3")]
    return [
        _weed(),
        f"-logdir={folder}",
        "server",
        *fixed.split(),
        *idle.split(),
        *own,
        *local,
        *ports.flags(),
    ]


def _roles(folder: Path) -> list[str | Path]:
    """Write the settings of the token service, and return the flag that names them."""
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    role = {
        "roleName": "collector",
        "roleArn": ROLE,
        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
        "attachedPolicies": ["Everything"],
    }
    document = {"Version": "2012-10-17", "Statement": [everything]}
    key = base64.b64encode(b"lab-" * 8).decode()
    settings = {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "lab",
            "signingKey": key,
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [role],
        "policies": [{"name": "Everything", "document": document}],
    }
    file = folder / "iam.json"
    file.write_text(json.dumps(settings))
    return [f"-s3.iam.config={file}"]


def _identity(identity: S3Identity) -> dict[str, Any]:
    keys = {"accessKey": identity.access_key, "secretKey": identity.secret_key}
    return {"name": identity.value, "credentials": [keys], "actions": _ACTIONS[identity]}


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise LabError("SeaweedFS is not installed", hint="Run lab/install.sh")
    return found


def _ready(endpoint: str, ports: _Ports, process: int) -> bool:
    """Whether S3 answers, and the master has a volume to store something in.

    Raises `LabError` where another server has one of the ports, as that of a test beside this one:
    its parts answer alike, and this one goes on without.
    """
    assign = f"http://127.0.0.1:{ports.master}/dir/assign"
    if _get(f"{endpoint}/healthz") is None or "fid" not in (_get(assign) or ""):
        return False
    if not {ports.master, ports.volume, ports.filer, ports.s3} <= listening_ports(process):
        raise LabError("Another process took a port of weed's", hint="Start it again")
    return True


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own, on loopback
            return str(answer.read(), "utf-8")
    except (urllib.error.URLError, OSError):
        return None
