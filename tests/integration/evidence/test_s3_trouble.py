"""Reading from an S3 endpoint that misbehaves: whoever asks is told soon."""

from __future__ import annotations

import pytest

from forensics_core.errors import DestinationUnreachable
from forensics_core.evidence.verify import verify
from forensics_core.export.s3.client import S3Access
from lab.faults import Action, Fault
from lab.sink import Sink


def access(sink: Sink) -> S3Access:
    return S3Access(
        endpoint_url=sink.endpoint,
        region=sink.env["AWS_REGION"],
        access_key_id=sink.env["AWS_ACCESS_KEY_ID"],
        secret_access_key=sink.env["AWS_SECRET_ACCESS_KEY"],
    )


async def test_a_place_that_does_not_answer_is_given_up_sooner_than_an_upload(sink: Sink) -> None:
    sink.faults.add(Fault(Action.REFUSE, "ListObjectVersions", times=None))
    with pytest.raises(DestinationUnreachable, match="answered 503"):
        await verify("s3://cases/one", access=access(sink))
    assert sink.count("ListObjectVersions") == 3 < access(sink).attempts
