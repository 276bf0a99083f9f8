"""What a client of S3 is made of, and what is not loaded for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from forensics_core.errors import AccessDenied
from forensics_core.storage.s3.client import S3Access, s3_client, trust
from forensics_core.storage.s3.session import forget_documentation, make_session

KEY: dict[str, Any] = {"access_key_id": "a", "secret_access_key": "b", "session_token": "c"}
VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_capture_loads_nothing_that_only_others_need() -> None:
    script = """
import sys
before = set(sys.modules)  # what measures coverage has loaded some of them
import collector.cli, collector.local, collector.docker.opening
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.session import make_session
make_session(S3Access(region="eu-central-1", access_key_id="a", secret_access_key="b"))
others = {"rich", "kubernetes_asyncio", "collector.memory", "aioboto3", "boto3", "s3transfer"}
others |= {"cryptography", "yaml", "tomllib", "multiprocessing", "unittest", "aiohttp.web"}
others |= {"collector.cri", "grpclib", "google.protobuf", "forensics_core.readers", "pydantic.v1"}
others &= set(sys.modules) - before
assert not others, others
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_certificates_are_read_only_where_there_is_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust(S3Access(endpoint_url="http://store:9000")) is False
    assert trust(S3Access()) is None
    assert trust(S3Access(endpoint_url="https://store", ca_bundle="/ca.pem")) == "/ca.pem"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store:9000")
    assert trust(S3Access()) is False
    monkeypatch.setenv("HTTP_PROXY", "https://proxy")
    assert trust(S3Access()) is None


@pytest.mark.parametrize("missing", ["access_key_id", "secret_access_key"])
async def test_half_a_key_is_refused(missing: str) -> None:
    with pytest.raises(AccessDenied):
        async with s3_client(replace(S3Access(**KEY), **dict[str, Any]({missing: None}))):
            pass


def test_models_of_the_users_own_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/own-service").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_DATA_PATH", "~/models:/none")
    names = make_session(S3Access()).get_component("data_loader").list_available_services("x")
    assert {"own-service", "s3", "sts"} <= {*names}


def test_nothing_is_kept_of_other_services_nor_of_texts_for_people() -> None:
    loader = make_session(S3Access()).get_component("data_loader")
    model = loader.load_service_model("s3", "service-2")
    assert not model["documentation"]
    assert not model["shapes"]["PutObjectOutput"]["members"]["ETag"]["documentation"]
    named = {
        name for part in loader.load_data("endpoints")["partitions"] for name in part["services"]
    }
    assert {"s3", "sts"} <= named <= {"s3", "sts", "oidc", "portal.sso"}


def test_a_member_that_is_called_documentation_stays() -> None:
    shape = {"members": {"documentation": {"shape": "Text", "documentation": "What it is."}}}
    forget_documentation(shape)
    assert shape == {"members": {"documentation": {"shape": "Text", "documentation": ""}}}


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
    ],
)
async def test_endpoints_of_other_partitions_are_known(region: str, host: str) -> None:
    async with s3_client(S3Access(region=region, **KEY)) as client:
        assert client.meta.endpoint_url == f"https://{host}"


async def test_keys_and_region_are_those_that_were_given() -> None:
    access = S3Access(region="eu-west-3", **KEY)
    session = await to_thread.run_sync(make_session, access)
    keys = await session.get_credentials()
    assert keys is not None
    assert (keys.access_key, keys.secret_key, keys.token) == ("a", "b", "c")
    async with s3_client(access) as client:
        assert client.meta.region_name == "eu-west-3"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-11-24T08:09:10.123Z", "2026-11-24T08:09:10.123000+00:00"),
        ("2026-11-24T10:09:10+02:00", "2026-11-24T08:09:10+00:00"),
        ("2026-11-24T08:09:10", "2026-11-24T08:09:10+00:00"),
        ("Tue, 24 Nov 2026 08:09:10 GMT", "2026-11-24T08:09:10+00:00"),
        ("1795507750", "2026-11-24T08:09:10+00:00"),
        (1795507750, "2026-11-24T08:09:10+00:00"),
    ],
)
def test_times_are_read_as_botocore_reads_them(said: str | int, meant: str) -> None:
    session = make_session(S3Access(region="us-east-1"))
    parser = session.get_component("response_parser_factory").create_parser("rest-xml")
    assert parser._timestamp_parser(said).astimezone(UTC) == datetime.fromisoformat(meant)
