"""The commands of `docs/bundle.md` work as they stand there, and leave the bundle as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import anyio
import pytest

from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundle.verify import verify
from tests.bundles import write_bundle

DOCUMENT = Path(__file__).parents[3] / "docs" / "bundle.md"


def block(within: str) -> str:
    """Return the indented block of the document that holds `within`."""
    blocks = DOCUMENT.read_text().split("\n\n")
    (found,) = (each for each in blocks if within in each and each.startswith("    "))
    return textwrap.dedent(found)


@pytest.mark.skipif(not shutil.which("jq"), reason="the document's commands need jq")
async def test_checking_the_seal_by_openssl_adds_nothing_to_the_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    await write_bundle(str(folder))
    private, public = generate_key()
    seal = sign((folder / "manifest.json").read_bytes(), private)
    (folder / "manifest.sigstore.json").write_bytes(seal)
    (tmp_path / "forensics.pub").write_bytes(public)
    script = block("openssl dgst -sha256 -verify").replace(
        "forensics.pub", str(tmp_path / "forensics.pub")
    )
    done = await anyio.run_process(
        ["bash", "-euc", script],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.STDOUT,
    )
    assert done.stdout.decode() == "Verified OK\n"
    verification = await verify(str(folder), key=public)
    assert verification.ok
    assert verification.extras == ()
