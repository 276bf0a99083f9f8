"""Settings: what fits, what does not, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from forensics_core.errors import UsageError
from forensics_core.operator.settings import CollectorCredentials, Settings, Timings, load_settings

GOOD = """
defaultDestination: s3://cases/2026
destinations:
  - prefix: s3://cases
    credentials: {secret: collector-s3}
  - prefix: s3://cases/secret
    endpoint: https://pods.example
    operatorEndpoint: https://operator.example
    credentials: {node: true}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_file_and_the_image_from_the_environment(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD), {"FORENSICS_COLLECTOR_IMAGE": "kf:1"})
    assert settings.collector.image == "kf:1"
    assert settings.namespaces == ("forensics-system",)


def test_the_files_own_image_counts_more(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "collector: {image: mine:2}\n")
    assert load_settings(path, {"FORENSICS_COLLECTOR_IMAGE": "kf:1"}).collector.image == "mine:2"


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(None, {}) == Settings()
    assert load_settings(write(tmp_path, ""), {}) == Settings()


def test_the_longest_prefix_decides(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD), {})
    rule = settings.rule_for("s3://cases/secret/1")
    assert rule is not None
    assert rule.credentials.node
    assert rule.operator_access(Timings()).endpoint_url == "https://operator.example"
    assert settings.rule_for("s3://cases-too") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("destinations: 5", "destinations"),
        ("collector: {runtimeEndpoint: tcp://node:2375}", "collector.runtimeEndpoint"),
        ("defaultDestination: ftp://x", "defaultDestination"),
        ("maxAttempts: 0", "maxAttempts"),
        ("colector: {}", "colector"),
        ("collector: {rate: fast}", "collector.rate: .* is not a valid size"),
        ("- a", "holds no settings"),
        ("a: [", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load_settings(write(tmp_path, text), {})
    assert caught.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"secret": "a", "node": True},
        {"serviceAccount": "a", "roleArn": ""},
        {"secret": "a", "assumeRole": "arn:aws:iam::1:role/r"},
        {"secret": "a", "webIdentity": True},
        {"assumeRole": "no-arn"},
    ],
)
def test_credentials_come_from_exactly_one_place(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CollectorCredentials.model_validate(given)


STORE = """
destinations:
  - prefix: s3://cases
    endpoint: https://minio.example
    checksum: sha256
    acl: false
    addressingStyle: virtual
    partSize: 64MiB
    caFile: /etc/minio/ca.crt
    caConfigMap: minio-ca
    credentials: {secret: collector-s3}
"""


def test_what_is_said_of_a_store_counts_for_the_operator_too(tmp_path: Path) -> None:
    access = load_settings(write(tmp_path, STORE), {}).destinations[0].operator_access(Timings())
    assert (access.checksum, access.acl, access.addressing_style) == ("sha256", False, "virtual")
    assert (access.part_size, access.ca_bundle) == (64 * 1024 * 1024, "/etc/minio/ca.crt")


def test_nothing_said_of_a_store_is_found_out(tmp_path: Path) -> None:
    access = load_settings(write(tmp_path, GOOD), {}).destinations[0].operator_access(Timings())
    assert (access.checksum, access.acl, access.addressing_style) == ("auto", None, None)
    assert (access.part_size, access.ca_bundle) == (None, None)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("checksum: crc32", "checksum"),
        ("addressingStyle: dns", "addressingStyle"),
        ("partSize: large", "partSize: .* is not a valid size"),
        ("partSize: 1MiB", "partSize: .* 5 MiB to 1 GiB"),
        ("caConfigMap: A/B", "caConfigMap"),
        (r'endpoint: "http://a\r\nX: y"', "endpoint"),
        ('operatorEndpoint: "file:///etc"', "operatorEndpoint"),
        (r'region: "eu\r\nX"', "region"),
    ],
)
def test_what_no_store_takes_is_named(tmp_path: Path, setting: str, said: str) -> None:
    rule = f"{{prefix: 's3://a-b', credentials: {{node: true}}, {setting}}}"
    with pytest.raises(UsageError, match=said):
        load_settings(write(tmp_path, f"destinations: [{rule}]"), {})


def test_a_bucket_that_aws_cannot_have_needs_an_endpoint(tmp_path: Path) -> None:
    rule = "prefix: s3://My_Cases, credentials: {node: true}"
    with pytest.raises(UsageError, match=r"My_Cases.*endpoint"):
        load_settings(write(tmp_path, f"destinations: [{{{rule}}}]"), {})
    text = f"destinations: [{{{rule}, endpoint: 'http://minio:9000'}}]"
    assert load_settings(write(tmp_path, text), {}).destinations[0].bucket == "My_Cases"


@pytest.mark.parametrize(
    ("collector", "rate"),
    [
        ({}, ""),
        ({"nodeRate": "90MiB"}, str(30 * 2**20)),
        ({"nodeRate": "90MiB", "rate": "1MiB"}, str(2**20)),
    ],
)
def test_each_job_has_its_share_of_what_a_node_may_read(
    collector: dict[str, str], rate: str
) -> None:
    found = Settings.model_validate({"capturesPerNode": 3, "collector": collector})
    assert found.job_settings().rate == rate
