"""Credentials: where they are found, and what a pod does when its own rotate."""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio.to_thread
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from forensics_core.errors import ApiUnavailable, ClusterNotConfigured
from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.credentials import CredentialSource
from forensics_core.kube.sessions import Sessions
from tests.integration.kube.scripted import answer, scripted_api


def certify(
    folder: Path,
    name: str,
    *,
    strictly: bool = True,
    host: str = "127.0.0.1",
    age: timedelta = timedelta(),
) -> ssl.SSLContext:
    """Make an authority of that name, put it into `ca.crt`, and return a server it vouches for.

    If not `strictly`, the authority says no more than that it is one.
    """
    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = blank(issuer, issuer, authority.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    if strictly:
        identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
        built = built.add_extension(identifier, False).add_extension(usage(), critical=True)
    root = built.sign(authority, hashes.SHA256())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    address = x509.IPAddress(ipaddress.ip_address(host))
    leaf = (
        blank(subject, issuer, key.public_key(), age)
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
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    age: timedelta = timedelta(),
) -> x509.CertificateBuilder:
    now = datetime.now(UTC) - age
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
        cluster = ClusterConnection(sessions, "default")
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
            await ClusterConnection(sessions, "default").request("GET", "/x")
        assert api.seen == []
    await sessions.aclose()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ssl.SSLContext]:
    """Python 3.13's default for TLS, whichever Python this is."""
    make = ssl.create_default_context

    def strictly(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = make(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strictly)
    return strictly


def kubeconfig(folder: Path, server: str) -> Path:
    """Write one that trusts the authority in `ca.crt`."""
    cluster = {"server": server, "certificate-authority": str(folder / "ca.crt")}
    config = {
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": {"token": "first"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("inside", [True, False])
async def test_an_authority_that_says_little_of_itself_is_trusted_as_kubectl_does(
    inside: bool,
    account: Path,
    monkeypatch: pytest.MonkeyPatch,
    strict: Callable[..., ssl.SSLContext],
) -> None:
    async with scripted_api(certify(account, "plain", strictly=False)) as api:
        api.on("GET", "/x", answer({}))
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="key usage"):
            await plainly(f"{api.url}/x", strict(cafile=account / "ca.crt"))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port_of(api.url)))
        named = None if inside else str(kubeconfig(account, api.url))
        sessions = Sessions(CredentialSource(kubeconfig=named, service_account=account))
        assert await ClusterConnection(sessions, "default").request("GET", "/x") == {}
        await sessions.aclose()


async def plainly(url: str, context: ssl.SSLContext) -> None:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context):
        pass


@pytest.mark.parametrize("wrong", ["name", "date"])
async def test_but_names_and_dates_are_checked(
    wrong: str, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = timedelta(days=2) if wrong == "date" else timedelta()
    host = "127.0.0.2" if wrong == "name" else "127.0.0.1"
    server = certify(account, "plain", strictly=False, host=host, age=old)
    sessions = Sessions(CredentialSource(service_account=account))
    async with scripted_api(server) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port_of(api.url)))
        with pytest.raises(ApiUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await ClusterConnection(sessions, "default").request("GET", "/x")
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
    (tmp_path / "b").touch()
    both = f"/a:{tmp_path}/b"
    named = CredentialSource.find(None, None, home | {"KUBECONFIG": both})
    assert named.kubeconfig == both, "one that is missing is passed over"
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


@pytest.mark.parametrize("proxy", ["", "http://proxy.example:3128"])
async def test_the_environment_is_asked_for_a_proxy_only_if_it_has_one(
    proxy: str, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    certify(account, "first")
    sessions = Sessions(CredentialSource(service_account=account))
    session = await sessions.current()
    assert session.client.rest_client.pool_manager.trust_env is bool(proxy)
    await sessions.aclose()
