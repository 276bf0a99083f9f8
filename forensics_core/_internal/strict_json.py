"""JSON that every parser reads in the same way, or not at all.

What is signed or compared by its digest is read by several programs: ours, `jq`, `cosign`, another
release. JSON leaves to each what a repeated key, `NaN` or a very large number means; a forger makes
one program see what another does not. Such documents are refused as a whole.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

_MAX_DEPTH = 64
"""Objects and lists within each other; ours have a dozen."""
_SPARE = 4096
"""Values that any document may have, however short it is."""
_SPARE_UNSIGNED = 250_000
"""The same, of documents whose shape is not ours: what a runtime or a cluster said."""
_LONG_ROW = 1024 * 1024
"""Characters of a row that is worth looking at before it is parsed."""
_BYTES_PER_VALUE = 8
_BYTES_PER_CONTAINER = 32
"""Of a document, at least, for each value, and for each object or list. Ours have several times as
many; `{}` 49,000 times has 3, and takes thirty times as much memory as it has bytes."""
_BITS = 64
"""Of a whole number. Sizes of sparse files reach 2**63 - 1."""
_DIGITS = 20
"""Of a whole number with that many bits; more are not even converted, which takes long."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Possessive, and content with a string that never ends: no text makes it look twice.
_SIGNS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)


def loads(data: bytes, *, limit: int) -> Any:
    """Return what `data` means, if it has at most `limit` bytes.

    Raises `ValueError` that says why not: for other encodings than UTF-8, keys that are repeated or
    differ in case only, NaN and Infinity, numbers beyond 64 bits or the range of a double, halves
    of surrogate pairs, deep nesting, and a great many values that are almost empty.
    """
    if len(data) > limit:
        raise ValueError(f"it has {len(data)} bytes, more than {limit}")
    # Not from bytes: the parser would guess UTF-16 and UTF-32.
    text = data.decode("utf-8")
    _check_shape(text)
    loaded = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=_whole,
    )
    if _SURROGATE.search(text):
        _check_surrogates(loaded)
    return loaded


def loads_row(data: bytes | str) -> Any:
    """Return what a row means that a node wrote and nobody signed by itself: repeated keys pass.

    Raises `ValueError` for numbers that no field of ours can have, NaN, Infinity and deep nesting,
    so that whoever reads many rows has one error to expect.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        if len(text) > _LONG_ROW:
            # Arguments of two letters each are many values, and genuine; empty lists are not.
            _check_shape(text, spare=_SPARE_UNSIGNED, bytes_per_value=1)
        return ROWS.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def loads_document(data: bytes) -> Any:
    """Return what a whole document of a node or a cluster means, as `loads_row` does.

    Raises `ValueError` also where it has so many values that they take far more memory than it.
    """
    text = data.decode("utf-8")
    _check_shape(text, spare=_SPARE_UNSIGNED)
    return loads_row(text)


def _check_shape(text: str, spare: int = _SPARE, bytes_per_value: int = _BYTES_PER_VALUE) -> None:
    """Refuse deep nesting before the parser recurses into it, and many values before it makes them.

    What is parsed takes much more memory than its text, the more so the shorter its values are.
    """
    depth = containers = values = 0
    most_containers = spare + len(text) // _BYTES_PER_CONTAINER
    most_values = spare + len(text) // bytes_per_value
    for found in _SIGNS.finditer(text):
        sign = found[0]
        opens = sign in "[{"
        depth += opens - (sign in "]}")
        containers += opens
        values += opens or sign == ","
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")
        if containers > most_containers or values > most_values:
            raise ValueError("it has too many values for its size")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"the key {_repeated(key for key, _ in pairs)} is repeated")
    # Some parsers, Go's among them, match keys whatever their case is.
    if len({key.casefold() for key in made}) < len(made):
        shown = _repeated(key.casefold() for key in made)
        raise ValueError(f"the key {shown} is there in several spellings")
    return made


def _repeated(keys: Iterable[str]) -> str:
    """Return the first key that comes twice, fit for a message."""
    (key, _), *_ = Counter(keys).most_common(1)
    return repr(key[:100])


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) < _DIGITS - 1:  # so few digits are never too much, and an index has millions
        return int(text)
    if len(text.lstrip("-")) > _DIGITS or (value := int(text)).bit_length() > _BITS:
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _check_surrogates(loaded: Any) -> None:
    """Refuse text that cannot be written as UTF-8, which each parser replaces as it likes."""
    try:
        json.dumps(loaded, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair") from error


ROWS = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
"""What `loads_row` decodes with, for those who read one value after the other."""
