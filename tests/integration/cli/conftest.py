"""A cluster with an operator beside the commands: they block, so it lives in another thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from click.testing import CliRunner

from forensics_core.cli.main import forensics
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import User
from lab.seaweed import S3Identity, S3Server
from tests.integration.operator.stage import Document, Stage, open_stage


@dataclass(frozen=True, slots=True)
class Remote:
    """The stage of the operator's tests, seen from the thread in which commands run."""

    portal: BlockingPortal
    stage: Stage
    folder: Path

    @contextmanager
    def operating(self) -> Iterator[None]:
        """Run an operator for the block."""
        with self.portal.wrap_async_context_manager(self.stage.operating()):
            yield

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the stage, or of its cluster, in their thread."""
        return self.portal.call(function, *arguments)

    def checkpoints(self) -> list[Document]:
        """Return all PodCheckpoints there are."""
        found: list[Document] = self.do(self.stage.cluster.list, "podcheckpoints")
        return found

    def come_as(self, user: User, namespace: str = "default") -> Path:
        """Return a kubeconfig for somebody else, or for another namespace."""

        async def write() -> Path:
            path = self.folder / "other"
            return await self.stage.cluster.kubeconfig(path, user=user, namespace=namespace)

        return self.portal.call(write)


@pytest.fixture
def remote(
    s3: S3Server, bucket: str, tmp_path: Path, use_env: Callable[[Mapping[str, str]], None]
) -> Iterator[Remote]:
    """A cluster with the pod `default/web-0`, and KUBECONFIG set to it."""
    env = s3.env(S3Identity.ADMIN)
    access = S3Access(
        endpoint_url=s3.endpoint,
        region="us-east-1",
        access_key_id=env["AWS_ACCESS_KEY_ID"],
        secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_stage(bucket, access, tmp_path)) as stage,
    ):
        use_env(env | {"KUBECONFIG": str(stage.kubeconfig)})
        yield Remote(portal, stage, tmp_path)


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command; return its exit code, output and errors."""
    result = CliRunner().invoke(forensics, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def invoke_json(*arguments: str | Path) -> tuple[int, Any, str]:
    """Run the command with `-o json`."""
    code, out, err = invoke(*arguments, "-o", "json")
    return code, json.loads(out), err
