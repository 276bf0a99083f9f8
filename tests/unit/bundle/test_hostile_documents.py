"""Documents that are made to take much memory or time are refused before they do."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest

from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.seal import MAX_SIGNATURES, generate_key, sign, verify_seal
from forensics_core.errors import UsageError, VerificationError
from forensics_core.operator.attempt.order import ORDER_FILE, read_order

HEAD = b'{"_type":"https://in-toto.io/Statement/v1","subject":['
MEASURE = """
import resource, sys
from forensics_core.errors import VerificationError
from forensics_core.bundle.manifest import Statement
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Statement.from_bytes(data)
except VerificationError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def rows(row: bytes, size: int) -> bytes:
    return HEAD + b",".join([row] * (size // len(row))) + b'],"predicate":{}}'


@pytest.mark.parametrize(
    "row",
    [
        b"{}",
        b"[[]]",
        b'{"a":1}',
        b'{"name":"a","digest":{"sha256":"x"}}',
        b"0",
        b'{"name":"' + b"a" * 60 + b'"}',
    ],
)
def test_refusing_a_manifest_takes_a_small_multiple_of_its_size(row: bytes) -> None:
    data = rows(row, 4 * 1024 * 1024)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=data, capture_output=True, check=True
    )
    assert int(done.stdout) * 1024 < 16 * len(data)


@pytest.mark.parametrize("row", [b"{}", b"[]", b"0", b'""'])
def test_many_values_that_are_almost_empty_are_refused(row: bytes) -> None:
    with pytest.raises(VerificationError, match="too many values"):
        Statement.from_bytes(rows(row, 147_000))


def test_the_first_row_that_is_wrong_is_named_and_no_other() -> None:
    with pytest.raises(VerificationError, match=r"subject\.0\.name: Field required"):
        Statement.from_bytes(rows(b"{}", 3000))


def test_an_order_of_many_empty_targets_is_refused() -> None:
    document = b'{"targets":[' + b",".join([b"{}"] * 49_000) + b"]}"
    secret = {"data": {ORDER_FILE: base64.b64encode(document).decode()}}
    with pytest.raises(UsageError, match="holds no work order") as raised:
        read_order(secret)
    assert "too many values" in str(raised.value.__cause__)


@pytest.mark.parametrize("number", [MAX_SIGNATURES + 1, 1000])
def test_a_seal_of_many_signatures_is_refused_untried(number: int) -> None:
    private, public = generate_key()
    seal = json.loads(sign(b"{}", private))
    seal["dsseEnvelope"]["signatures"] *= number
    with pytest.raises(VerificationError, match=f"it has {number} signatures"):
        verify_seal(json.dumps(seal).encode(), b"{}", public)


def test_a_seal_holds_if_any_of_a_few_signatures_does() -> None:
    private, public = generate_key()
    seal = json.loads(sign(b"{}", private))
    wrong = {"sig": base64.b64encode(b"wrong").decode()}
    seal["dsseEnvelope"]["signatures"][:0] = [wrong] * (MAX_SIGNATURES - 1)
    verify_seal(json.dumps(seal).encode(), b"{}", public)
