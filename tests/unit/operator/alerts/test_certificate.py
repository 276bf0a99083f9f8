"""The certificate of the port that takes alerts."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest
from cryptography import x509

from forensics_core.errors import UsageError
from forensics_core.operator.alerts.certificate import ServerCertificate, make_certificate

NAMES = ("forensics-alerts.forensics-operator.svc", "localhost")


def put(folder: Path, names: tuple[str, ...] = NAMES) -> bytes:
    certificate, key = make_certificate(names)
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    return certificate


def test_what_is_made_names_the_service_and_is_no_authority() -> None:
    made = x509.load_pem_x509_certificate(make_certificate(NAMES)[0])
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


async def test_without_files_one_is_made_once_and_the_log_has_its_digest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = ServerCertificate(tmp_path, NAMES)
    with caplog.at_level(logging.WARNING):
        await certificate.load()
        await certificate.load()
    assert caplog.text.count("SHA-256") == 1
    assert not list(tmp_path.iterdir())


async def test_files_are_loaded_and_loaded_again_when_they_change(tmp_path: Path) -> None:
    put(tmp_path)
    certificate = ServerCertificate(tmp_path, NAMES)
    await certificate.load()
    first = certificate._loaded
    await certificate.load()
    assert certificate._loaded == first
    put(tmp_path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(certificate.renew, 0.01)
        with anyio.fail_after(60):
            while certificate._loaded == first:  # noqa: ASYNC110 # nobody tells
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_files_that_do_not_fit_are_refused_at_the_start_and_left_alone_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path)
    certificate = ServerCertificate(tmp_path, NAMES)
    await certificate.load()
    (tmp_path / "tls.key").write_bytes(b"no key")
    with pytest.raises(UsageError, match="forensics-alerts-tls"):
        await ServerCertificate(tmp_path, NAMES).load()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(certificate.renew, 0.01)
        with anyio.fail_after(60):
            while "stays as it is" not in caplog.text:  # noqa: ASYNC110 # nobody tells
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
