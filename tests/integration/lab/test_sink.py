from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aioboto3
import anyio
import pytest
from awscrt.checksums import crc64nvme
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from bench.sink import remote_sink
from forensics_core.storage.storage import open_destination
from lab.certificate import SelfSignedCertificate, make_certificate
from lab.faults import Misbehaviour, StoreFault
from lab.http import NetworkLink
from lab.sink import STATISTICS, StoreSink, running_sink

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

BLOCK = bytes(5 * 1024 * 1024)
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def client(sink: StoreSink) -> AsyncIterator[S3Client]:
    session = aioboto3.Session(
        aws_access_key_id="lab",
        aws_secret_access_key="lab",  # noqa: S106
        region_name="us-east-1",
    )
    once = Config(retries={"max_attempts": 0}, read_timeout=30)
    async with session.client("s3", endpoint_url=sink.endpoint, config=once) as client:
        yield client


async def upload(client: S3Client, key: str, parts: int = 2) -> None:
    made = await client.create_multipart_upload(Bucket="cases", Key=key)
    upload = made["UploadId"]
    tags: list[CompletedPartTypeDef] = []
    for number in range(1, parts + 1):
        part = await client.upload_part(
            Bucket="cases", Key=key, UploadId=upload, PartNumber=number, Body=BLOCK
        )
        tags.append({"ETag": part["ETag"], "PartNumber": number})
    await client.complete_multipart_upload(
        Bucket="cases",
        Key=key,
        UploadId=upload,
        MultipartUpload={"Parts": tags},
        IfNoneMatch="*",
    )


async def test_an_upload_is_counted_and_forgotten(sink: StoreSink, client: S3Client) -> None:
    await upload(client, "a/b c")
    assert sink.objects == {"cases/a/b c": 2 * len(BLOCK)}
    assert sink.uploads == {}
    assert [request.part for request in sink.sent("UploadPart")] == [1, 2]
    assert b"<PartNumber>2</PartNumber>" in sink.sent("CompleteMultipartUpload")[0].body
    assert sink.sent("CompleteMultipartUpload")[0].headers["if-none-match"] == "*"


async def test_nothing_is_overwritten_if_the_client_forbids_it(
    sink: StoreSink, client: S3Client
) -> None:
    await upload(client, "a")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        await upload(client, "a")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        await client.put_object(Bucket="cases", Key="a", Body=b"", IfNoneMatch="*")


async def test_an_abort_leaves_nothing_open(sink: StoreSink, client: S3Client) -> None:
    made = await client.create_multipart_upload(Bucket="cases", Key="a")
    listed = await client.list_multipart_uploads(Bucket="cases")
    assert [each["UploadId"] for each in listed["Uploads"]] == [made["UploadId"]]
    await client.abort_multipart_upload(Bucket="cases", Key="a", UploadId=made["UploadId"])
    assert sink.uploads == {}


async def test_a_missing_bucket_and_object_lock(sink: StoreSink, client: S3Client) -> None:
    sink.missing.add("gone")
    await client.head_bucket(Bucket="cases")
    with pytest.raises(ClientError, match="404"):
        await client.head_bucket(Bucket="gone")
    with pytest.raises(ClientError, match="ObjectLockConfigurationNotFoundError"):
        await client.get_object_lock_configuration(Bucket="cases")
    sink.object_lock = True
    await client.get_object_lock_configuration(Bucket="cases")
    assert "VersionId" in await client.put_object(Bucket="cases", Key="a", Body=b"")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (StoreFault(Misbehaviour.REFUSE, "UploadPart", part=2), ClientError),
        # Twice, because aiohttp repeats a PUT once by itself on a connection that it reuses.
        (
            StoreFault(Misbehaviour.RESET, "UploadPart", after=1000, times=2),
            (ConnectionError, HTTPClientError),
        ),
        (StoreFault(Misbehaviour.HANG, "UploadPart", after=0), TimeoutError),
        (StoreFault(Misbehaviour.HANG, "CompleteMultipartUpload"), TimeoutError),
        (
            StoreFault(Misbehaviour.ERROR_IN_200, "CompleteMultipartUpload", code="InternalError"),
            ClientError,
        ),
        (
            StoreFault(Misbehaviour.REFUSE, "CompleteMultipartUpload", status=409, code="Again"),
            ClientError,
        ),
    ],
    ids=lambda value: value.action if isinstance(value, StoreFault) else "",
)
async def test_a_fault_happens_as_often_as_was_said(
    sink: StoreSink, client: S3Client, fault: StoreFault, error: type[Exception]
) -> None:
    sink.faults.add(fault)
    with pytest.raises(error), anyio.fail_after(2):
        await upload(client, "a")
    assert sink.objects == {}
    await upload(client, "a")
    assert sink.objects == {"cases/a": 2 * len(BLOCK)}


async def test_an_answer_can_be_lost(sink: StoreSink, client: S3Client) -> None:
    sink.faults.add(StoreFault(Misbehaviour.LOSE_ANSWER, "CompleteMultipartUpload"))
    with pytest.raises((ConnectionError, HTTPClientError)):
        await upload(client, "a")
    assert sink.objects == {"cases/a": 2 * len(BLOCK)}


async def test_faults_are_for_whom_they_concern(sink: StoreSink, client: S3Client) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "PutObject", key="manifest", times=None))
    await client.put_object(Bucket="cases", Key="log", Body=b"")
    for _ in range(2):
        with pytest.raises(ClientError):
            await client.put_object(Bucket="cases", Key="manifest.json", Body=b"")
    sink.faults.clear()
    await client.put_object(Bucket="cases", Key="manifest.json", Body=b"")


def test_a_slow_reader_makes_the_sender_wait(sink: StoreSink) -> None:
    sink.faults.add(StoreFault(Misbehaviour.SLOW, "PutObject", rate=1000))
    host, port = sink.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(b"PUT /cases/a HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        sender.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sender.sendall(bytes(100_000_000))


@pytest.fixture
def certificate(tmp_path: Path) -> SelfSignedCertificate:
    return make_certificate(tmp_path)


def test_a_slow_link_is_slow_for_all_who_share_it() -> None:
    link = NetworkLink(rate=1)
    first, second = link.occupy(1_000_000), link.occupy(1_000_000)
    assert first == pytest.approx(1_000_000, abs=60)
    assert second == pytest.approx(2_000_000, abs=60)


def test_what_lay_idle_is_no_credit() -> None:
    link = NetworkLink(rate=1, now=lambda: 1e9)
    assert link.occupy(1_000) == pytest.approx(1_000, abs=1)


def test_a_sink_with_a_rate_makes_every_sender_wait() -> None:
    with running_sink(rate=1000) as sink, ExitStack() as stack:
        for _ in range(2):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", sink.port)))
            sender.sendall(b"PUT /cases/a HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
            sender.settimeout(0.5)
            with pytest.raises(TimeoutError):
                sender.sendall(bytes(100_000_000))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "command",
    [
        ["aws", "s3", "cp", "--no-progress", "-", "s3://cases/a"],
        ["s5cmd", "pipe", "-p", "8", "s3://cases/a"],
    ],
    ids=["aws", "s5cmd"],
)
def test_other_peoples_clients_are_served(
    certificate: SelfSignedCertificate, command: list[str], tls: bool
) -> None:
    tool = Path(sys.executable).with_name(command[0])
    data = bytes(20_000_000)
    with running_sink(tls=certificate if tls else None) as sink:
        env = {**os.environ, **sink.env, "S3_ENDPOINT_URL": sink.endpoint}
        subprocess.run([tool, *command[1:]], input=data, env=env, check=True, capture_output=True)
    assert sink.endpoint.startswith("https:" if tls else "http:")
    assert sink.objects == {"cases/a": len(data)}


async def test_our_own_client_is_served_over_tls(
    certificate: SelfSignedCertificate, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    with running_sink(tls=certificate) as sink:
        use_env(sink.env)
        async with (
            open_destination("s3://cases/tls") as destination,
            destination.create("a") as writer,
        ):
            await writer.write(bytes(20_000_000))
            await writer.commit()
        assert sink.objects == {"cases/tls/a": 20_000_000}


def test_nobody_is_trusted_who_shows_another_certificate(
    certificate: SelfSignedCertificate, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_certificate(tmp_path_factory.mktemp("other"))
    with running_sink(tls=certificate) as sink:
        url = sink.endpoint + STATISTICS
        with pytest.raises(urllib.error.URLError) as refused:
            urllib.request.urlopen(url, context=other.client())  # noqa: S310
        assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)
        with urllib.request.urlopen(url, context=certificate.client()) as answer:  # noqa: S310
            assert answer.status == 200


def test_chunked_bodies_are_counted_without_their_framing(sink: StoreSink) -> None:
    pieces = (bytes(1000) for _ in range(3))
    request = urllib.request.Request(f"{sink.endpoint}/cases/a", data=pieces, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert answer.status == 200
    assert sink.objects == {"cases/a": 3000}


async def test_small_objects_can_be_kept_and_read_back(sink: StoreSink, client: S3Client) -> None:
    sink.keep = 3
    total = base64.b64encode(crc64nvme(b"abc").to_bytes(8, "big")).decode()
    put = await client.put_object(Bucket="cases", Key="a", Body=b"abc", ChecksumCRC64NVME=total)
    await client.put_object(Bucket="cases", Key="b", Body=b"abcd")
    got = await client.get_object(Bucket="cases", Key="a")
    assert await got["Body"].read() == b"abc"
    head = await client.head_object(Bucket="cases", Key="a")
    assert (head["ContentLength"], head["ETag"]) == (3, put["ETag"])
    assert head["ChecksumCRC64NVME"] == total
    listed = await client.list_object_versions(Bucket="cases", Prefix="a")
    assert [(row["Key"], row["Size"]) for row in listed["Versions"]] == [("a", 3)]
    for key, code in (("b", "NotImplemented"), ("c", "NoSuchKey")):
        with pytest.raises(ClientError, match=code):
            await client.get_object(Bucket="cases", Key=key)
    assert sink.sent("PutObject")[0].body == b""


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "lab.sink"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        endpoint = process.stdout.readline().strip()
        with urllib.request.urlopen(endpoint + STATISTICS) as answer:  # noqa: S310
            assert b'"requests": 0' in answer.read()
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def test_a_process_of_its_own_can_have_tls_and_a_rate(certificate: SelfSignedCertificate) -> None:
    with remote_sink(tls=certificate, rate=1e9) as sink:
        assert sink.endpoint.startswith("https://127.0.0.1:")
        assert sink.counts().objects == 0
