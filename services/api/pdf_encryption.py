"""Whether an encrypted PDF opens without a password: many only forbid printing or copying, and everybody may read them.

Tries the empty user password as ISO 32000-2, 7.6.4 describes it for the standard security handler (revisions 2 to 6). Whatever
is locked in another way, or cannot be understood, counts as locked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from services.api.pdf_objects import Unreadable, Value

_PADDING: Final = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_NO_PASSWORD: Final = b""
_FEWEST_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class Lock:
    """What an encryption dictionary says about the user password."""

    revision: int
    key_bytes: int
    owner: bytes
    user: bytes
    permissions: int
    file_id: bytes
    hides_metadata: bool

    @classmethod
    def of(cls, dictionary: dict[str, Value], file_id: bytes) -> Lock:
        """The lock in an encryption dictionary of a file with this first identifier.

        Raises:
            Unreadable: it is not of the standard handler, or not whole.
        """
        if dictionary.get("Filter") != "Standard":
            raise Unreadable("another security handler")
        return cls(
            revision=_integer(dictionary, "R"),
            key_bytes=_integer(dictionary, "Length", 40) // 8,
            owner=_string(dictionary, "O"),
            user=_string(dictionary, "U"),
            permissions=_integer(dictionary, "P"),
            file_id=file_id,
            hides_metadata=dictionary.get("EncryptMetadata") is not False,
        )

    def opens_without_password(self) -> bool:
        """Whether the empty password is the user's."""
        check = {
            2: self._revision_2,
            3: self._revision_3,
            4: self._revision_3,
            5: self._revision_5,
            6: self._revision_6,
        }
        return self.revision in check and check[self.revision]()

    def _revision_2(self) -> bool:
        return _rc4(self._key(5, rounds=0), _PADDING) == self.user[:32]

    def _revision_3(self) -> bool:
        key = self._key(16 if self.revision == 4 else self.key_bytes, rounds=50)
        digest = _md5(_PADDING + self.file_id)
        for turn in range(20):
            digest = _rc4(bytes(byte ^ turn for byte in key), digest)
        return digest == self.user[:16]

    def _revision_5(self) -> bool:
        return hashlib.sha256(_NO_PASSWORD + self.user[32:40]).digest() == self.user[:32]

    def _revision_6(self) -> bool:
        return _hardened(self.user[32:40]) == self.user[:32]

    def _key(self, size: int, rounds: int) -> bytes:
        """The file's key, if the empty password is the right one (algorithm 2)."""
        plain_metadata = self.revision >= 4 and not self.hides_metadata
        permissions = (self.permissions & 0xFFFFFFFF).to_bytes(4, "little")
        digest = _md5(_PADDING + self.owner[:32] + permissions + self.file_id + b"\xff" * (4 * plain_metadata))
        for _ in range(rounds):
            digest = _md5(digest[:size])
        return digest[:size]


def _integer(dictionary: dict[str, Value], name: str, default: int | None = None) -> int:
    value = dictionary.get(name, default)
    if not isinstance(value, int):
        raise Unreadable(f"/{name} is missing")
    return value


def _string(dictionary: dict[str, Value], name: str) -> bytes:
    value = dictionary.get(name)
    if not isinstance(value, bytes):
        raise Unreadable(f"/{name} is missing")
    return value


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _rc4(key: bytes, content: bytes) -> bytes:
    """RC4, which the format prescribes; empty keys encrypt nothing."""
    if not key:
        return content
    state = list(range(256))
    other = 0
    for place in range(256):
        other = (other + state[place] + key[place % len(key)]) % 256
        state[place], state[other] = state[other], state[place]
    output = bytearray()
    place = other = 0
    for byte in content:
        place = (place + 1) % 256
        other = (other + state[place]) % 256
        state[place], state[other] = state[other], state[place]
        output.append(byte ^ state[(state[place] + state[other]) % 256])
    return bytes(output)


def _hardened(salt: bytes) -> bytes:
    """The hash of the empty password with a salt (algorithm 2.B): some eighty rounds of AES."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    digest = hashlib.sha256(_NO_PASSWORD + salt).digest()
    turn, last = 0, 0
    while turn < _FEWEST_ROUNDS or last > turn - 32:
        encryptor = Cipher(algorithms.AES(digest[:16]), modes.CBC(digest[16:32])).encryptor()
        mixed = encryptor.update((_NO_PASSWORD + digest) * 64)
        kind = (hashlib.sha256, hashlib.sha384, hashlib.sha512)[sum(mixed[:16]) % 3]
        digest = kind(mixed).digest()
        turn, last = turn + 1, mixed[-1]
    return digest[:32]
