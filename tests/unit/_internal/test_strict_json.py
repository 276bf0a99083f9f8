"""JSON that two parsers could read differently is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core._internal.strict_json import loads

LIMIT = 1024 * 1024

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20)
keys = st.text("abc_-09", max_size=10)
documents = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
)


@given(documents)
def test_plain_json_means_what_it_says(document: object) -> None:
    assert loads(json.dumps(document).encode(), limit=LIMIT) == document
    assert loads(json.dumps(document, ensure_ascii=False).encode(), limit=LIMIT) == document


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' is repeated"),
        (b'[{"b": {"a": 1, "a": 1}}]', "the key 'a' is repeated"),
        (b'{"\\u0061": 1, "a": 2}', "the key 'a' is repeated"),
        (b'{"sha256": 1, "SHA256": 2}', "several spellings"),
        ('{"k": 1, "\u212a": 2}'.encode(), "several spellings"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "too large"),
        (b"[-1e999]", "too large"),
        (b"[18446744073709551616]", "too large"),
        (b"[" + b"9" * 100_000 + b"]", "too large"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\uDFFF": 1}', "surrogate"),
        (b"[" * 65 + b"]" * 65, "nested deeper"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper"),
        ('{"a": 1}'.encode("utf-16"), None),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"\xff", None),
        (b"", None),
        (b"{} {}", None),
        (b"[" + b" " * LIMIT, "more than"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(data: bytes, why: str | None) -> None:
    with pytest.raises(ValueError, match=why):
        loads(data, limit=LIMIT)


def test_the_largest_numbers_and_a_whole_surrogate_pair_are_read() -> None:
    assert loads(b"[18446744073709551615, -9223372036854775808]", limit=LIMIT)
    assert loads(rb'["\ud83d\ude00"]', limit=LIMIT) == ["\U0001f600"]


def test_brackets_within_text_are_no_nesting() -> None:
    text = '[{"' * 100 + "\\"
    assert loads(json.dumps([text]).encode(), limit=LIMIT) == [text]


@pytest.mark.parametrize("start", [b'"', b'["', b'{"a": "'])
def test_a_string_that_never_ends_is_read_once(start: bytes) -> None:
    """Looked at from each of its quotes it would take hours."""
    with pytest.raises(ValueError):
        loads(start + rb"\"" * 400_000, limit=LIMIT)


def test_a_long_key_is_cut_in_the_message() -> None:
    key = b"x" * 100_000
    with pytest.raises(ValueError) as raised:
        loads(b'{"%b": 1, "%b": 2}' % (key, key), limit=LIMIT)
    assert len(str(raised.value)) < 200
