"""Any bytes survive JSON."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.documents import document, portable, readable, rows
from forensics_core.errors import SourceError


def test_text_stays_text() -> None:
    assert portable("naïve\n\x1b[31m".encode()) == "naïve\n\x1b[31m"


def test_what_is_not_utf8_is_readable_and_exact() -> None:
    assert portable(b"a\xff") == {"text": "a\\xff", "base64": "Yf8="}


@given(st.binary())
def test_nothing_is_lost(data: bytes) -> None:
    value = json.loads(document(portable(data)))
    back = value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
    assert back == data


@given(st.binary())
def test_readable_text_can_always_be_stored_as_utf8(data: bytes) -> None:
    assert readable(data).encode().decode() == readable(data)


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, size: int = 7) -> list[dict[str, Any]]:
    return [row async for row in rows(cut(data, size))]


@given(
    st.lists(st.fixed_dictionaries({"Path": st.text(), "Kind": st.integers(0, 2)})),
    st.integers(1, 40),
    st.booleans(),
)
async def test_every_row_comes_out_once(
    content: list[dict[str, Any]], size: int, escaped: bool
) -> None:
    data = json.dumps(content, ensure_ascii=escaped).encode(errors="replace")
    assert await read(data, size) == json.loads(data)


@pytest.mark.parametrize("empty", [b"null", b"null\n", b"[]\n"])
async def test_nothing_is_an_empty_array(empty: bytes) -> None:
    assert await read(empty) == []


@pytest.mark.parametrize(
    "broken", [b"", b'[{"Path": "/a"', b'[{"a": 1}', b'[{"a": 1},', b"nonsense"]
)
async def test_an_array_that_breaks_off_is_an_error(broken: bytes) -> None:
    with pytest.raises(SourceError, match="ended in the middle"):
        await read(broken)


def test_documents_are_indented_json_whatever_is_in_them() -> None:
    content = {
        "empty": [],
        "nothing": {},
        "name": "ü\u2028\x1f",
        "large": 2**70,
        "rows": [{"a": 1.5}],
    }
    assert document(content) == json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def test_a_document_that_is_nested_deeply_is_written_too() -> None:
    content: object = None
    for _ in range(300):
        content = [content]
    assert json.loads(document(content)) == content
