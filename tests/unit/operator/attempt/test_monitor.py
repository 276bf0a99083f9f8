"""Lines that a collector prints: progress, or anything."""

from __future__ import annotations

import pytest

from forensics_core.operator.attempt.monitor import PREFIX, parse_progress


def line(rest: bytes) -> bytes:
    return PREFIX + rest


def test_progress_is_read_and_summed_up() -> None:
    said = line(b'"artifactsDone":2,"artifactsTotal":9,"bytesRead":1536,"later":"field"}')
    progress = parse_progress(said)
    assert progress
    assert (progress.artifacts_done, progress.summary) == (2, "2/9 1.5 KiB")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff\xfe",
        b"Traceback (most recent call last):",
        b'{"event":"other","artifactsDone":1}',
        line(b""),
        line(b'"artifactsDone":-1}'),
        line(b'"artifactsDone":99999999999}'),
        line(b'"bytesRead":1e400}'),
        line(b'"current":["x"]}'),
        line(b'"current":' + b"[" * 100_000),
        line(b'"bytesRead":NaN}'),
        line(b'"bytesRead":1,"bytesRead":2}'),
        line(b'"event":"other","bytesRead":1}'),
        line(b'"bytesRead":1,"BYTESREAD":2}'),
        line(b'"bytesRead":' + b"9" * 60_000 + b"}"),
        line(b'"current":"\\ud800"}'),
        line(b'"current":"\xff"}'),
        line(b'"later":[' + b"{}," * 20_000 + b"{}]}"),
        line(b'"current":"' + b"x" * 70_000 + b'"}'),
    ],
    ids=lambda said: said[:40].decode(errors="replace"),
)
def test_anything_else_is_left_out(said: bytes) -> None:
    assert parse_progress(said) is None


def test_what_is_too_long_is_cut() -> None:
    progress = parse_progress(line(b'"current":"' + b"x" * 60_000 + b'"}'))
    assert progress
    assert len(progress.current) == 253
