"""What a short-lived command leaves out: in processes of their own, as modules load once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest


def run(script: str, environ: dict[str, str]) -> dict[str, object]:
    kept = {key: os.environ[key] for key in os.environ if not key.startswith(("SSL_", "PYDANTIC"))}
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)],
        env=kept | environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("environ", [{}, {"SSL_CERT_FILE": "/a.pem", "SSL_CERT_DIR": "/certs"}])
def test_aiohttp_is_loaded_without_certificates_and_the_environment_stays(
    environ: dict[str, str],
) -> None:
    script = """
        import json, os
        from forensics_core._internal.startup import load_aiohttp
        load_aiohttp()
        load_aiohttp()
        from aiohttp import connector
        stats = connector._SSL_CONTEXT_VERIFIED.cert_store_stats()
        kept = {name: value for name, value in os.environ.items() if name.startswith("SSL_CERT")}
        print(json.dumps({"certificates": stats["x509"], "environ": kept}))
    """
    assert run(script, environ) == {"certificates": 0, "environ": environ}


@pytest.mark.parametrize(
    ("set_to", "kept"), [({}, "__all__"), ({"PYDANTIC_DISABLE_PLUGINS": "a"}, "a")]
)
def test_pydantic_looks_for_no_plugins_unless_it_was_told_to(
    set_to: dict[str, str], kept: str
) -> None:
    script = """
        import json, os
        from forensics_core._internal.startup import leave_out_pydantic_plugins
        leave_out_pydantic_plugins()
        print(json.dumps({"disabled": os.environ["PYDANTIC_DISABLE_PLUGINS"]}))
    """
    assert run(script, set_to) == {"disabled": kept}


def test_what_is_loaded_is_not_looked_through_for_garbage() -> None:
    script = """
        import gc, json
        from forensics_core._internal.startup import without_garbage
        looks = []
        gc.callbacks.append(lambda phase, _: looks.append(phase))
        with without_garbage():
            kept = [[] for _ in range(100_000)]
        print(json.dumps({
            "looks": looks,
            "kept": gc.get_freeze_count() > len(kept),
            "goes on": gc.isenabled(),
            "first": gc.get_threshold()[0],
        }))
    """
    assert run(script, {}) == {"looks": [], "kept": True, "goes on": True, "first": 50_000}
