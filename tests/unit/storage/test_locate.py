"""URLs of places, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics_core.api.order import Encryption, Retention
from forensics_core.errors import UsageError
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.storage import open_destination


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://cases", S3Location("cases")),
        ("s3://cases/", S3Location("cases")),
        ("s3://cases/2026/a b?#c/", S3Location("cases", "2026/a b?#c")),
        ("s3://My_Cases", S3Location("My_Cases")),
        ("file:///cases/42", Path("/cases/42")),
        ("file:///with%20space", Path("/with space")),
        ("/cases/42", Path("/cases/42")),
    ],
)
def test_a_location_is_understood(url: str, place: object) -> None:
    assert parse_location(url) == place


def test_a_bare_path_is_made_absolute() -> None:
    assert parse_location("cases") == Path.cwd() / "cases"


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://-UPPER",
        "s3://under_score_",
        "s3://a",
        "s3://ok/a//b",
        "s3://ok/../b",
        "s3://ok/a/.",
        "s3://ok/a\nb",
        "s3://ok/\x7f",
        "s3://ok/" + "x" * 513,
        "file://host/x",
        "ftp://x/y",
        "s3://[bad/x",
    ],
)
def test_a_location_that_cannot_be_says_which_forms_can(url: str) -> None:
    with pytest.raises(UsageError, match=r"s3://bucket\[/prefix\]") as caught:
        parse_location(url)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("prefix", ["", "a/b"])
def test_a_place_and_its_url_are_the_same(prefix: str) -> None:
    place = S3Location("cases", prefix)
    assert parse_location(place.url) == place


@pytest.mark.parametrize(
    "wish", [{"retention": Retention(days=1)}, {"encryption": Encryption(kms_key_id="k")}]
)
async def test_a_folder_can_neither_lock_nor_encrypt(
    tmp_path: Path, wish: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="neither Object Lock nor KMS"):
        async with open_destination(tmp_path.as_uri(), **wish):  # type: ignore[arg-type]
            pytest.fail("it was opened")
