"""Any bytes survive JSON."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from collector.documents.text import document, portable, readable


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
