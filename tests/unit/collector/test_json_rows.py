"""Long JSON arrays are read row by row, however they arrive."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.documents.rows import rows
from forensics_core.errors import SourceError


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
