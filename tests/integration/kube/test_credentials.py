"""Credentials: where they are found, and what a pod does when its own rotate."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio.to_thread
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from forensics_core.errors import ApiUnavailable, ClusterNotConfigured
from forensics_core.kube.connection import Cluster, connect
from forensics_core.kube.credentials import CredentialSource
from forensics_core.kube.sessions import Sessions
from tests.integration.kube.scripted import answer, scripted_api


def certify(folder: Path, name: str) -> ssl.SSLContext:
    """Make an authority of that name, put it into `ca.crt`, and return a server it vouches for."""
    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    root = (
        blank(issuer, issuer, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), False)
        .add_extension(usage(), critical=True)
        .sign(authority, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    leaf = (
        blank(subject, issuer, key.public_key())
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False
        )
        .sign(authority, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


def blank(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def usage() -> x509.KeyUsage:
    flags = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**flags, key_cert_sign=True, crl_sign=True)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's folder, as in a pod."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("first\n")
    (folder / "namespace").write_text("forensics-operator")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    return folder


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


async def test_a_rotated_authority_and_token_are_read_again(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(CredentialSource(service_account=account))
    async with scripted_api(certify(account, "old")) as api:
        port = port_of(api.url)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        cluster = Cluster(sessions, "default")
        api.on("GET", "/x", answer({}))
        await cluster.request("GET", "/x")
        assert api.seen[0].headers["Authorization"] == "Bearer first"
    async with scripted_api(certify(account, "new"), port) as api:
        (account / "token").write_text("second")
        api.on("GET", "/x", answer({}))
        await cluster.request("GET", "/x")
        assert api.seen[0].headers["Authorization"] == "Bearer second"
    await sessions.aclose()


async def test_a_server_that_nobody_vouches_for_is_refused(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = certify(account, "theirs")
    certify(account, "ours")
    sessions = Sessions(CredentialSource(service_account=account))
    async with scripted_api(server) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port_of(api.url)))
        with pytest.raises(ApiUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await Cluster(sessions, "default").request("GET", "/x")
        assert api.seen == []
    await sessions.aclose()


async def test_a_pod_knows_its_namespace_and_server(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    credentials = await CredentialSource(service_account=account).load()
    assert credentials.namespace == "forensics-operator"
    assert credentials.configuration.host == "https://[fd00::1]:443"


async def test_a_service_account_without_a_token_is_named(account: Path) -> None:
    (account / "token").unlink()
    with pytest.raises(ClusterNotConfigured, match="token"):
        await CredentialSource(service_account=account).load()


def test_what_the_caller_names_comes_first(tmp_path: Path) -> None:
    source = CredentialSource.find(tmp_path / "mine", "ctx", {"KUBECONFIG": "/other"})
    assert (source.kubeconfig, source.context) == (str(tmp_path / "mine"), "ctx")


def test_then_the_environment_then_the_home(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    named = CredentialSource.find(None, None, home | {"KUBECONFIG": "/a:/b"})
    assert named.kubeconfig == "/a:/b"
    assert CredentialSource.find(None, None, home).kubeconfig is None, "in a pod"
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()
    assert CredentialSource.find(None, None, home).kubeconfig == str(tmp_path / ".kube/config")


async def test_nothing_at_all_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterNotConfigured, match="Set KUBECONFIG"):
        async with connect():
            pass


async def test_a_file_that_is_written_or_goes_is_a_change(account: Path) -> None:
    credentials = await CredentialSource(service_account=account).load()
    before = await anyio.to_thread.run_sync(credentials.fingerprint)
    (account / "token").write_text("another one")
    written = await anyio.to_thread.run_sync(credentials.fingerprint)
    (account / "token").unlink()
    gone = await anyio.to_thread.run_sync(credentials.fingerprint)
    assert len({before, written, gone}) == 3
