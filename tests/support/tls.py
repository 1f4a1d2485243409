"""TLS in front of servers that speak plainly: a certificate of the tests' own authority, and a door that ends TLS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SSL_REQUEST = 80877103
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost, which is its own authority."""

    path: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """For a server."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.path, self.key)
        return made


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority as many clusters have one: it says neither what its key is for nor which key has signed."""

    path: Path
    _key: ec.EllipticCurvePrivateKey
    _name: x509.Name

    def issue(self, folder: Path, name: str, hosts: list[str]) -> Certificate:
        """A certificate for `hosts`, host names or addresses; for a client without any."""
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = _certificate(_name_of(name), self._name, key)
        if hosts:
            wanted = wanted.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False)
        return _written(folder, name, wanted.sign(self._key, hashes.SHA256()), key)


def make_authority(folder: Path, name: str) -> Authority:
    """A new authority that is good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = _certificate(_name_of(name), _name_of(name), key)
    wanted = wanted.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(_written(folder, name, wanted.sign(key, hashes.SHA256()), key).path, key, _name_of(name))


def make_certificate(folder: Path) -> Certificate:
    """A certificate that is good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_host("localhost"), _host("127.0.0.1")]
    certificate = (
        _certificate(_name_of("localhost"), _name_of("localhost"), key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _written(folder, "server", certificate, key)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _DAY)
    )


def _name_of(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _written(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    made.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    made.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    made.key.chmod(0o600)
    return made


class TlsDoor:
    """A port that speaks TLS, before a server that does not."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.encrypted = 0
        """Connections that were encrypted."""


@contextlib.asynccontextmanager
async def tls_door(certificate: Certificate, target: int, *, postgres: bool = False) -> AsyncIterator[TlsDoor]:
    """Open a door before the server at port `target`.

    With `postgres` the client asks for TLS first, as its protocol has it, and is refused when it does not.
    """
    context = certificate.context()
    door = TlsDoor(0)

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if postgres:
                _, code = struct.unpack("!II", await reader.readexactly(8))
                if code != _SSL_REQUEST:
                    return
                writer.write(b"S")
                await writer.start_tls(context)
            door.encrypted += 1
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(welcome, "127.0.0.1", 0, ssl=None if postgres else context)
    async with server:
        door.port = server.sockets[0].getsockname()[1]
        yield door


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
