"""`forensics collect --order FILE`, as the operator's Jobs run it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio.abc import Process

from forensics_core.api.order import ContainerTarget, ContextFile, PodRef, Requester, WorkOrder
from forensics_core.bundle.layout import LAYERS, NODE
from forensics_core.bundle.manifest import Flag, Statement
from forensics_core.operator.attempt.monitor import parse_progress
from forensics_core.operator.evidence.comparison import disagreements
from lab.docker import DockerEngine
from lab.faults import Misbehaviour, StoreFault
from lab.seaweed import S3Identity, S3Server
from lab.sink import StoreSink
from tests.integration.collector.conftest import Bundle

FORENSICS = str(Path(sys.executable).with_name("forensics"))
GONE = "docker://" + "0" * 64
SIZE = 32 * 1024 * 1024
SLOWLY = {"FORENSICS_RATE": "24MiB"}
"""So that an archive can be met under way."""
HARDLY = {"FORENSICS_RATE": "1MiB"}
"""The same for one that nobody waits for the end of."""
NOISE = f"head -c {SIZE} /dev/urandom > /noise"
NOISY = ("/bin/sh", "-c", f"{NOISE}; exec sleep 999")
VOLATILITY = ["processes", "network", "diff", "filesystem", "logs", "inspect"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")


@dataclass
class Ended:
    """What a collector left behind."""

    code: int
    out: list[bytes]
    err: str
    words: dict[str, Any]
    """The termination message."""


@dataclass
class Job:
    """A folder with an order, and the environment of the collector that is to carry it out."""

    folder: Path
    env: Mapping[str, str]
    order: WorkOrder = field(init=False)

    @property
    def file(self) -> Path:
        return self.folder / "order.json"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    @property
    def bundle(self) -> Bundle:
        return Bundle(self.folder / "cases" / "web-1")

    def ask(self, *containers: str, **more: object) -> None:
        """Write the order; the containers are called a, b, c in the pod."""
        named = zip("abcdef", containers, strict=False)
        asked = {
            "destination": (self.folder / "cases").as_uri(),
            "bundle": "web-1",
            "uid": uuid4(),
            "pod": PodRef(namespace="shop", name="web", uid="u1"),
            "targets": [ContainerTarget(name=name, container_id=where) for name, where in named],
            "layer_seconds": 60,
            **more,
        }
        self.order = WorkOrder.model_validate(asked)
        self.file.write_text(self.order.model_dump_json(by_alias=True, indent=1))

    @asynccontextmanager
    async def started(self, **more: str) -> AsyncIterator[Process]:
        """Run the collector for the block."""
        log = {"FORENSICS_TERMINATION_LOG": str(self.folder / "log")}
        env = {**os.environ, **self.env, **log, **more}
        command = [FORENSICS, "collect", "--order", str(self.file)]
        async with await anyio.open_process(command, env=env) as process:
            yield process

    async def ended(self, process: Process) -> Ended:
        """Return how it ended, once it did."""
        assert process.stdout and process.stderr
        out = b"".join([chunk async for chunk in process.stdout])
        err = b"".join([chunk async for chunk in process.stderr])
        code = await process.wait()
        words = json.loads((self.folder / "log").read_bytes())
        return Ended(code, out.splitlines(), err.decode(), words)

    async def run(self, **more: str) -> Ended:
        """Carry the order out."""
        async with self.started(**more) as process:
            return await self.ended(process)


@pytest.fixture
def job(docker: DockerEngine, tmp_path: Path) -> Job:
    return Job(tmp_path, docker.env)


def tars(process: Process) -> Iterator[int]:
    """Yield the processes that archive a file system for the collector, at work or stopped."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                if b"--create" in Path(f"/proc/{child}/cmdline").read_bytes():
                    yield int(child)


async def hold(process: Process, held: set[int]) -> None:
    """Wait for one more archive to begin, and stop it: its stream stands still."""
    while not (new := set(tars(process)) - held):
        assert process.returncode is None
        await anyio.sleep(0.02)
    for number in new:
        os.kill(number, signal.SIGSTOP)
    held |= new


@asynccontextmanager
async def noisy(docker: DockerEngine, image: str) -> AsyncIterator[str]:
    """Run a container whose files take a moment to read."""
    async with docker.container(image, NOISY) as container:
        await docker.exec(container, f"until [ $(stat -c %s /noise) = {SIZE} ]; do sleep 0.1; done")
        yield f"docker://{container}"


async def test_what_the_operator_checks_is_as_ordered(
    docker: DockerEngine, image: str, s3: S3Server, bucket: str, job: Job
) -> None:
    job.env = {**job.env, **s3.env(S3Identity.COLLECTOR)}
    context = ContextFile(
        name="context/pod.yaml", sha256="0" * 64, size=1, captured_at=datetime.now(UTC)
    )
    async with docker.container(image) as one, docker.container(image) as two:
        job.ask(
            *(f"docker://{container}" for container in (one, two)),
            destination=f"s3://{bucket}/prod",
            attempt=2,
            requester=Requester(name="ada", attested=True),
            reason="odd traffic",
            incident="INC-7",
            context=[context],
        )
        ended = await job.run()
    assert (ended.code, ended.err) == (0, "")
    assert ended.words["reason"] == "Captured" and ended.words["retry"] is False
    manifest = await read(s3, bucket, "prod/web-1/manifest.json")
    assert ended.words["manifestSHA256"] == hashlib.sha256(manifest).hexdigest()
    statement = Statement.from_bytes(manifest)
    assert list(disagreements(statement, job.order, job.digest)) == []
    assert len(statement.predicate.artifacts) == 41
    assert [row.name for row in statement.predicate.containers] == ["a", "b"]


async def read(s3: S3Server, bucket: str, key: str) -> bytes:
    async with s3.client(S3Identity.READER) as client:
        answer = await client.get_object(Bucket=bucket, Key=key)
        return await answer["Body"].read()


async def test_every_line_of_the_output_is_an_event(
    docker: DockerEngine, image: str, job: Job
) -> None:
    async with docker.container(image) as container:
        job.ask(f"docker://{container}")
        ended = await job.run()
    *lines, last = ended.out
    progress = [parse_progress(line) for line in lines]
    assert None not in progress and progress[-1] is not None
    assert progress[-1].artifacts_done == progress[-1].artifacts_total >= 20
    assert progress[-1].current == "" and progress[-1].bytes_stored > 0
    assert json.loads(last) == {"event": "ended", **ended.words}


async def test_nobody_reads_the_output(docker: DockerEngine, image: str, job: Job) -> None:
    outlet, inlet = os.pipe()
    os.set_blocking(inlet, False)
    with suppress(BlockingIOError):
        while True:
            os.write(inlet, b"x" * 4096)
    os.set_blocking(inlet, True)
    async with docker.container(image) as container:
        job.ask(f"docker://{container}")
        command = [FORENSICS, "collect", "--order", str(job.file)]
        env = {**os.environ, **job.env}
        run = await anyio.run_process(command, stdout=inlet, env=env, check=False)
    os.close(outlet)
    os.close(inlet)
    assert run.returncode == 0 and not job.bundle.capture.partial


async def test_kinds_follow_their_volatility_containers_their_concurrency(
    docker: DockerEngine, image: str, job: Job
) -> None:
    async with noisy(docker, image) as one, noisy(docker, image) as two:
        job.ask(one, two, one)
        async with job.started(**SLOWLY) as process:
            held: set[int] = set()
            while len(held) < 2:
                await hold(process, held)
            for number in held:
                os.kill(number, signal.SIGCONT)
            ended = await job.ended(process)
    assert ended.code == 0, ended.err
    artifacts = job.bundle.capture.artifacts
    assert {artifact.container for artifact in artifacts} == {None, "a", "b", "c"}
    # Layers of the image are compared last: they stay on the node.
    own = [each for each in artifacts if each.container and not each.name.endswith(LAYERS)]
    kinds = [[a for a in own if a.kind == kind] for kind in VOLATILITY]
    for before, after in pairwise(kinds):
        assert max(a.finished_at for a in before) <= min(a.started_at for a in after)


async def test_one_at_a_time_where_the_job_says_so(
    docker: DockerEngine, image: str, job: Job
) -> None:
    async with docker.container(image) as one, docker.container(image) as two:
        job.ask(f"docker://{one}", f"docker://{two}")
        ended = await job.run(FORENSICS_CONCURRENT_CONTAINERS="1")
    assert ended.code == 0
    # An index is made while its archive passes, and the node is read beside its containers.
    own = [a for a in job.bundle.capture.artifacts if not a.name.startswith(NODE)]
    artifacts = [a for a in own if a.method != "index"]
    spans = sorted((a.started_at, a.finished_at) for a in artifacts)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


async def test_a_signal_ends_it_with_what_it_has(
    docker: DockerEngine, image: str, job: Job
) -> None:
    async with noisy(docker, image) as container:
        job.ask(container)
        async with job.started(**HARDLY) as process:
            await hold(process, set())
            process.send_signal(signal.SIGTERM)
            ended = await job.ended(process)
    assert (ended.code, ended.words["reason"], ended.err) == (4, "Partial", "")
    assert b'{"event":"stopping"}' in ended.out
    capture = job.bundle.capture
    cut = {a.name for a in capture.artifacts if Flag.TRUNCATED in a.flags}
    assert cut == {"containers/a/rootfs.tar.zst"}
    expected = {"rootfs.tar, its rest", "image layers", "logs", "inspect"}
    assert job.bundle.gaps() == dict.fromkeys(expected, "Interrupted")
    assert capture.containers[0].result == "Partial"
    assert_whole(job.bundle)


async def test_the_deadline_ends_it_likewise(docker: DockerEngine, image: str, job: Job) -> None:
    async with noisy(docker, image) as container:
        job.ask(container, artifacts=["filesystem", "logs"], active_deadline_seconds=10)
        async with job.started(**HARDLY) as process:
            await hold(process, set())
            ended = await job.ended(process)
    assert (ended.code, ended.words["reason"]) == (4, "Partial")
    assert set(job.bundle.gaps().values()) == {"Deadline"}
    assert_whole(job.bundle)


async def test_the_settings_rate_slows_the_reading_down(
    docker: DockerEngine, image: str, job: Job
) -> None:
    """All of it would take 32 seconds at least."""
    async with noisy(docker, image) as container:
        job.ask(container, artifacts=["filesystem"], active_deadline_seconds=8)
        ended = await job.run(FORENSICS_RATE="1MiB")
    assert (ended.code, ended.words["reason"]) == (4, "Partial")
    assert set(job.bundle.gaps().values()) == {"Deadline"}
    (archive,) = (each for each in job.bundle.capture.artifacts if "rootfs.tar" in each.name)
    assert archive.original_size < SIZE / 2


def assert_whole(bundle: Bundle) -> None:
    """Assert that the folder holds what the manifest says, and nothing else."""
    stated = {artifact.name for artifact in bundle.capture.artifacts}
    assert bundle.names() == stated | {"manifest.json", "SHA256SUMS"}
    for artifact in bundle.capture.artifacts:
        content = (bundle.folder / artifact.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256


@pytest.mark.parametrize("how", ["a second signal", "no time left"])
async def test_a_destination_that_hangs_is_given_up(
    how: str, docker: DockerEngine, image: str, sink: StoreSink, job: Job
) -> None:
    job.env = {**job.env, **sink.env}
    sink.faults.add(StoreFault(Misbehaviour.HANG, "PutObject", key="manifest.json", times=None))
    grace = "60" if how == "a second signal" else "1"
    async with docker.container(image) as container:
        job.ask(f"docker://{container}", destination="s3://cases")
        async with job.started(FORENSICS_GRACE_SECONDS=grace) as process:
            while not sink.count("PutObject", "manifest.json"):  # noqa: ASYNC110  # another process
                await anyio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            if grace == "60":
                await until_said(process, b'{"event":"stopping"}')
                process.send_signal(signal.SIGTERM)
            ended = await job.ended(process)
    assert ended.code == 143 and "no manifest" in ended.err and "Traceback" not in ended.err
    assert (ended.words["reason"], ended.words["retry"]) == ("Terminated", True)
    assert not [key for key in sink.objects if "manifest" in key]


async def until_said(process: Process, line: bytes) -> None:
    assert process.stdout
    said = b""
    while line not in said:
        said += await process.stdout.receive()


async def test_containers_that_are_gone_leave_the_others(
    docker: DockerEngine, image: str, job: Job
) -> None:
    async with docker.container(image) as container:
        job.ask(GONE, f"docker://{container}", not_captured=["events: forbidden"])
        ended = await job.run()
    assert (ended.code, ended.words["reason"]) == (4, "Partial")
    assert job.bundle.gaps() == {"container": "Gone", "context": "NotGathered"}
    rows = {row.name: row.result for row in job.bundle.capture.containers}
    assert rows == {"a": "Failed", "b": "Captured"}


@pytest.mark.parametrize(
    ("change", "code", "reason", "retry"),
    [
        (
            {"targets": [ContainerTarget(name="a", container_id=GONE)]},
            1,
            "ContainerNotFound",
            False,
        ),
        ({"targets": []}, 2, "UsageError", False),
        ({"targets": [ContainerTarget(name="a", container_id="moon://1")]}, 2, "UsageError", False),
        ({"destination": "s3://nowhere"}, 1, "BucketNotFound", False),
        ({"destination": "gs://cases"}, 2, "UsageError", False),
    ],
)
async def test_why_there_is_no_bundle(
    change: dict[str, object],
    code: int,
    reason: str,
    retry: bool,
    docker: DockerEngine,
    image: str,
    sink: StoreSink,
    job: Job,
) -> None:
    sink.missing.add("nowhere")
    job.env = {**job.env, **sink.env}
    async with docker.container(image) as container:
        job.ask(f"docker://{container}", **change)
        ended = await job.run()
    assert (ended.code, ended.words["reason"], ended.words["retry"]) == (code, reason, retry)
    assert ended.err == f"Error: {ended.words['message']}\n"
    assert not sink.objects and not job.bundle.folder.exists()


async def test_no_runtime_is_worth_another_attempt(docker: DockerEngine, tmp_path: Path) -> None:
    job = Job(tmp_path, {"DOCKER_HOST": f"unix://{tmp_path}/none"})
    job.ask(GONE)
    ended = await job.run()
    assert (ended.code, ended.words["reason"]) == (1, "RuntimeUnavailable")
    assert ended.words["retry"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--order", "FILE", "docker://web"], "leave out 'RUNTIME://ID...'"),
        (["--order", "FILE", "--to", "s3://cases"], "leave out '--to'"),
        (["--order", "FILE", "-o", "json"], "leave out '-o' / '--output'"),
        (["--order", "FILE", "--gentle", "--rate", "1M"], "order.json cannot be read"),
        (["docker://web"], "Missing option '--to'"),
        (["docker://web", "--rate", "fast"], "'fast' is not a valid size"),
        (["--to", "s3://cases"], "Missing argument 'RUNTIME://ID...'"),
    ],
)
async def test_an_order_goes_with_nothing_else(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "order.json")
    filled = [file if argument == "FILE" else argument for argument in arguments]
    run = await anyio.run_process([FORENSICS, "collect", *filled], check=False)
    assert run.returncode == 2 and said in run.stderr.decode()
