"""Settings: what fits, what does not, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from forensics_core.errors import UsageError
from forensics_core.operator.settings import Credentials, Settings, Timings, load_settings

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
        ("collector: {rate: fast}", "collector.rate: .* is no number of bytes"),
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
    "given", [{}, {"secret": "a", "node": True}, {"serviceAccount": "a", "roleArn": ""}]
)
def test_credentials_come_from_exactly_one_place(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Credentials.model_validate(given)
