"""The API server's certificate: the cluster's own authority is enough, whatever it lacks, and nothing else is."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from lightkube import KubeConfig

from services.kernel.errors import SettingsInvalid
from services.kernel.lease.api import LeaseUnavailable
from services.kernel.lease.kubernetes import KubernetesLease
from services.kernel.lease.record import LeaseRecord
from tests.support.lease_http import Object, PretendedServer, pretended_server
from tests.support.tls import Authority, make_authority

NAME = "coursegen-outbox-relay"


@pytest.fixture(autouse=True)
def as_strict_as_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `ssl.create_default_context` demands by itself from 3.13 on is demanded with older Pythons too."""
    usual = ssl.create_default_context

    def strict(*arguments: object, **more: object) -> ssl.SSLContext:
        context = usual(*arguments, **more)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The cluster's."""
    return make_authority(tmp_path, "cluster")


def as_file(authority: Authority) -> Object:
    """The authority as a file of its own."""
    return {"certificate-authority": str(authority.path)}


def as_relative_file(authority: Authority) -> Object:
    """The authority as a file beside the KUBECONFIG."""
    return {"certificate-authority": authority.path.name}


def as_data(authority: Authority) -> Object:
    """The authority inside the KUBECONFIG."""
    return {"certificate-authority-data": base64.b64encode(authority.path.read_bytes()).decode()}


async def read_by(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> LeaseRecord | None:
    """What a relay with this KUBECONFIG reads."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with KubernetesLease.open(NAME, "", "me", 5.0) as lease:
        return await lease.read()


@pytest.mark.parametrize("given", [as_file, as_relative_file, as_data])
async def test_an_authority_that_lacks_extensions_is_trusted(
    authority: Authority, given: Callable[[Authority], Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file or as data of a KUBECONFIG; the strict check of Python 3.13 refuses it, and would have stopped the relay."""
    certificate = authority.issue(tmp_path, "api-server", ["127.0.0.1"])
    async with pretended_server(certificate) as server:
        assert "Key" in await _refusal(server, ssl.create_default_context(cafile=authority.path))

        assert await read_by(server.kubeconfig(tmp_path, given(authority)), monkeypatch) is None


async def test_a_pod_trusts_the_authority_of_its_service_account(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token, namespace and ca.crt as the kubelet mounts them."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "ca.crt").write_bytes(authority.path.read_bytes())
    (account / "token").write_text("t", encoding="ascii")
    (account / "namespace").write_text("here", encoding="ascii")
    monkeypatch.setattr(KubeConfig, "from_env", lambda: KubeConfig.from_service_account(account))
    async with pretended_server(authority.issue(tmp_path, "api-server", ["127.0.0.1"])) as server:
        host, port = server.url.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        async with KubernetesLease.open(NAME, "", "me", 5.0) as lease:
            assert await lease.read() is None


@pytest.mark.parametrize("given", [as_file, as_data])
async def test_another_authority_is_refused(
    authority: Authority, given: Callable[[Authority], Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with a certificate of somebody else's, good for this host, is not the API server."""
    stranger = make_authority(tmp_path, "stranger")
    async with pretended_server(stranger.issue(tmp_path, "api-server", ["127.0.0.1"])) as server:
        with pytest.raises(LeaseUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await read_by(server.kubeconfig(tmp_path, given(authority)), monkeypatch)


async def test_an_authority_of_the_same_name_is_refused(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the authority is no proof; its key is."""
    (tmp_path / "other").mkdir()
    stranger = make_authority(tmp_path / "other", "cluster")
    async with pretended_server(stranger.issue(tmp_path, "api-server", ["127.0.0.1"])) as server:
        with pytest.raises(LeaseUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await read_by(server.kubeconfig(tmp_path, as_file(authority)), monkeypatch)


async def test_another_host_name_is_refused(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate of another server of this cluster, a kubelet's for instance, does not do."""
    async with pretended_server(authority.issue(tmp_path, "kubelet", ["10.0.0.1", "node-1"])) as server:
        with pytest.raises(LeaseUnavailable, match="IP address mismatch"):
            await read_by(server.kubeconfig(tmp_path, as_file(authority)), monkeypatch)


@pytest.mark.parametrize("is_data", [False, True])
async def test_the_client_certificate_of_a_kubeconfig_is_shown(
    authority: Authority, is_data: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that knows its users by their certificates lets this one in, and nobody without one."""
    mine = authority.issue(tmp_path, "me", [])
    user = {"client-certificate": str(mine.path), "client-key": str(mine.key)}
    if is_data:
        user = {f"{key}-data": base64.b64encode(Path(path).read_bytes()).decode() for key, path in user.items()}
    certificate = authority.issue(tmp_path, "api-server", ["127.0.0.1"])
    async with pretended_server(certificate, clients=authority.path) as server:
        assert await read_by(server.kubeconfig(tmp_path, as_file(authority), user), monkeypatch) is None
        with pytest.raises(LeaseUnavailable):
            await read_by(server.kubeconfig(tmp_path, as_file(authority)), monkeypatch)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "clusters: {",
        "current-context: x\nclusters: []\ncontexts: []",
        "current-context: x\nclusters: [{name: x, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "contexts: [{name: x, context: {cluster: x}}]",
        "current-context: x\nclusters: [{name: x, cluster: {server: 'https://127.0.0.1:1', certificate-authority: nowhere}}]\n"
        "users: [{name: x, user: {token: canary-token}}]\ncontexts: [{name: x, context: {cluster: x, user: x}}]",
        "users: [{name: x, user: {token: canary-token}}\ncurrent-context: x",
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_refused_at_start(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting that asked for it, and nothing of what is in the file."""
    (tmp_path / "broken").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsInvalid, match="RELAY_ELECTION") as refused:
        await read_by(tmp_path / "broken", monkeypatch)

    assert "canary" not in str(refused.value)


async def _refusal(server: PretendedServer, context: ssl.SSLContext) -> str:
    """Why a client with this context does not speak to the server."""
    host, port = server.url.removeprefix("https://").split(":")
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        await asyncio.open_connection(host, int(port), ssl=context)
    return refused.value.verify_message
