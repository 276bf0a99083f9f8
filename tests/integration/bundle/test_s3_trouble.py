"""Reading from an S3 endpoint that misbehaves: whoever asks is told soon, and told the truth."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.seal import generate_key
from forensics_core.bundle.verification import SealState
from forensics_core.bundle.verify import verify
from forensics_core.errors import DestinationUnreachable
from forensics_core.storage.s3.client import S3Access
from lab.faults import Misbehaviour, StoreFault
from lab.sink import StoreSink
from tests.bundles import write_bundle

BUNDLE = "s3://cases/one"
SEAL = "manifest.sigstore.json"
REFUSED = StoreFault(
    Misbehaviour.REFUSE, "GetObject", SEAL, status=403, code="AccessDenied", times=None
)
"""What an identity that may not list is told of an object that is not there."""


@pytest.fixture
async def kept(sink: StoreSink, use_env: Callable[[Mapping[str, str]], None]) -> StoreSink:
    """A sink that holds a bundle; the standard variables lead to it."""
    use_env(sink.env)
    sink.keep = 1024 * 1024
    await write_bundle(BUNDLE, archive=b"tar" * 1000)
    return sink


def access(sink: StoreSink) -> S3Access:
    return S3Access(
        endpoint_url=sink.endpoint,
        region=sink.env["AWS_REGION"],
        access_key_id=sink.env["AWS_ACCESS_KEY_ID"],
        secret_access_key=sink.env["AWS_SECRET_ACCESS_KEY"],
    )


async def test_a_place_that_does_not_answer_is_given_up_sooner_than_an_upload(
    sink: StoreSink,
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "ListObjectVersions", times=None))
    with pytest.raises(DestinationUnreachable, match="answered 503"):
        await verify("s3://cases/one", access=access(sink))
    assert sink.count("ListObjectVersions") == 3 < access(sink).attempts


async def test_a_seal_that_the_network_keeps_away_is_no_finding(kept: StoreSink) -> None:
    kept.faults.add(StoreFault(Misbehaviour.REFUSE, "GetObject", SEAL, times=None))
    with pytest.raises(DestinationUnreachable, match=f"{SEAL} answered 503"):
        await verify(BUNDLE)


async def test_a_seal_that_may_not_be_read_is_a_problem_only_to_who_has_a_key(
    kept: StoreSink,
) -> None:
    kept.faults.add(REFUSED)
    without = await verify(BUNDLE)
    assert without.ok and without.seal is SealState.UNCHECKED
    assert "This identity may not read a seal: whether there is one is not known" in without.notes
    checked = await verify(BUNDLE, key=generate_key()[1])
    assert [problem.name for problem in checked.problems] == [SEAL]
    assert checked.seal is SealState.INVALID


async def test_a_seal_that_may_not_be_read_does_not_keep_the_bundle_away(
    kept: StoreSink, tmp_path: Path
) -> None:
    kept.faults.add(REFUSED)
    fetched = await fetch(BUNDLE, tmp_path / "home")
    assert not fetched.problems and "may not read a seal" in fetched.notes[-1]
    assert (await verify(str(tmp_path / "home"))).ok


async def test_the_checksums_are_compared_as_they_were_read_the_first_time(kept: StoreSink) -> None:
    assert (await verify(BUNDLE)).ok
    assert kept.count("GetObject", "SHA256SUMS") == 1


@pytest.mark.parametrize("command", ["verify", "ls", "cat", "fetch"])
def test_who_reads_can_make_sure_of_the_bucket_as_well(
    sink: StoreSink, command: str, tmp_path: Path
) -> None:
    more = {"cat": ["web:/etc/passwd"], "fetch": [str(tmp_path / "home")]}.get(command, [])
    script = str(Path(sys.executable).with_name("forensics"))
    done = subprocess.run(
        [script, command, BUNDLE, *more, "--expected-bucket-owner", "123456789012"],
        env={**os.environ, **sink.env},
        capture_output=True,
    )
    assert done.returncode == 1, done.stderr
    asked = {one.headers.get("x-amz-expected-bucket-owner") for one in sink.requests}
    assert asked == {"123456789012"}
