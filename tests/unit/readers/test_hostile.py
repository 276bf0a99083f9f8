"""What readers are told that no collector writes is refused as evidence that does not verify."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics_core.bundle.reader import open_bundle
from forensics_core.errors import VerificationError
from forensics_core.readers.documents import load
from forensics_core.readers.findings.documents import rows
from tests.bundles import DIFF, INSPECT, replace_object, write_bundle

HOSTILE = [b'{"size": Infinity}', b"[" * 100_000, b'{"size": ' + b"9" * 5000 + b"}", b"\xff"]


@pytest.mark.parametrize("row", HOSTILE)
async def test_hostile_rows_and_documents_do_not_verify(tmp_path: Path, row: bytes) -> None:
    await write_bundle(str(tmp_path))
    replace_object(tmp_path, DIFF, b'{"changes": [\n' + row + b"\n]}")
    replace_object(tmp_path, INSPECT, row)
    async with open_bundle(str(tmp_path)) as bundle:
        with pytest.raises(VerificationError, match="not written as a collector does"):
            _ = [batch async for batch in rows(bundle, DIFF)]
        with pytest.raises(VerificationError, match="is not JSON"):
            await load(bundle, INSPECT)
