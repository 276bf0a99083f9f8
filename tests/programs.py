"""Programs as they are started, and what they say where that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anyio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from forensics_core.bundle.seal import generate_key

UNREACHABLE = "https://127.0.0.1:1"
"""Where nothing listens: the port of tcpmux."""


def program(name: str) -> str:
    """Return the path of an installed program."""
    return str(Path(sys.executable).with_name(name))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int | None
    out: str
    err: str

    def assert_one_line(self, code: int, said: str) -> None:
        """It said what is wrong on one line, and nothing else but its usage."""
        assert "Traceback" not in self.err + self.out
        lines = [line for line in self.err.splitlines() if line]
        lines = [line for line in lines if not line.startswith(("Usage: ", "Try '"))]
        assert len(lines) == 1 and lines[0].startswith("Error: "), self.err
        assert said in lines[0], self.err
        assert self.code == code, self.err


async def start(command: Sequence[str], **env: str) -> Ended:
    """Run a program to its end."""
    done = await anyio.run_process(
        command, env=environment(env), check=False, stdin=subprocess.DEVNULL
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


async def until(command: Sequence[str], said: str, **env: str) -> Ended:
    """Run a program until it says something, then ask it to end."""
    async with await anyio.open_process(
        command, env=environment(env), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        printed = b""
        async for block in process.stdout:
            if said.encode() in printed + block and said.encode() not in printed:
                process.send_signal(signal.SIGTERM)
            printed += block
        await process.wait()
    assert said in printed.decode(), printed.decode()
    return Ended(process.returncode, printed.decode(), "")


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: nothing of whoever runs the tests decides anything."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FORENSICS_", "SLACK", "KUBE"))
    }
    return {**kept, **env}


def kubeconfig(path: Path, server: str = UNREACHABLE, **cluster: str) -> Path:
    """Write a kubeconfig with one cluster."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": server, **cluster}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "users": [{"name": "a", "user": {"token": "wrong"}}],
    }
    path.write_text(json.dumps(document))
    return path


def write_keys(folder: Path) -> None:
    """Write a key of each kind that is none for seals, and one that is."""
    for name, content in _keys().items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()


@cache
def _keys() -> dict[str, bytes]:
    """Return the keys by their files' names; those of RSA take long to make."""
    private, public = generate_key()
    locked = serialization.BestAvailableEncryption(b"secret")
    return {
        "good": private,
        "public": public,
        "empty": b"",
        "text": b"no key",
        "rsa": _pem(rsa.generate_private_key(65537, 2048)),
        "p384": _pem(ec.generate_private_key(ec.SECP384R1())),
        "locked": _pem(ec.generate_private_key(ec.SECP256R1()), locked),
    }


def _pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    encryption: serialization.KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )
