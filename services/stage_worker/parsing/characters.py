"""Characters: bytes become text, and text loses what no reader sees and no database takes."""

from __future__ import annotations

import codecs
import re
import unicodedata

from charset_normalizer import from_bytes

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CANDIDATES = [
    "cp1251", "koi8_r", "cp866", "mac_cyrillic", "cp1252", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256",
    "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
]  # fmt: skip
_ALPHABETS = {0x00, 0x03, 0x04}
"""High bytes of Latin, Greek and Cyrillic letters in UTF-16."""
_WIDE_FROM_BYTES, _MOSTLY = 8, 0.7
_GUESS_BYTES = 50_000
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\ufff0-\ufffc\ufffe\uffff]"
)
_LIGATURES = str.maketrans({
    "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st",
})  # fmt: skip
_SPACES = re.compile(r"[^\S\n]+")
_NEWLINE = re.compile("\r\n?|\x85|\u2028|\u2029|\x0b|\x0c")


def decode(content: bytes, declared: str | None = None) -> str:
    """The text of a file: by its byte order mark, as UTF-8, as it declares itself, or by the likeliest encoding.

    Bytes that fit nothing become U+FFFD; this never fails.
    """
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    wide = _wide_encoding(content)
    if wide:
        return content.decode(wide, "replace")
    for candidate in ("utf-8", _known(declared)):
        if candidate is None:
            break
        try:
            return content.decode(candidate)
        except UnicodeDecodeError:
            continue
    return _guess(content)


def clean_line(text: str) -> str:
    """One line of visible characters: NFC, single spaces, nothing invisible."""
    return " ".join(clean_lines(text).split())


def clean_lines(text: str) -> str:
    """Lines of visible characters with single spaces between words and none at the ends."""
    text = _NEWLINE.sub("\n", text)
    text = _INVISIBLE.sub("", text).translate(_LIGATURES)
    text = unicodedata.normalize("NFC", text)
    return "\n".join(_SPACES.sub(" ", line).strip() for line in text.split("\n"))


def clean_code(text: str) -> str:
    """Lines with their indentation; tabs become four spaces, and a fence inside cannot end the block."""
    text = _INVISIBLE.sub("", _NEWLINE.sub("\n", text)).expandtabs(4).replace("```", "'''")
    lines = [unicodedata.normalize("NFC", line).rstrip() for line in text.split("\n")]
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    squeezed = [line for at, line in enumerate(lines) if line or lines[at - 1]]
    return "\n".join(squeezed)


def _known(declared: str | None) -> str | None:
    try:
        return codecs.lookup(declared.strip()).name if declared else None
    except LookupError:
        return None


def _wide_encoding(content: bytes) -> str | None:
    """UTF-16 without a mark: of each two bytes one names the alphabet, and hardly ever changes."""
    sample = content[:2_000]
    if len(sample) < _WIDE_FROM_BYTES or len(content) % 2:
        return None
    even, odd = (sum(byte in _ALPHABETS for byte in half) / len(half) for half in (sample[::2], sample[1::2]))
    if odd > _MOSTLY > 1 - _MOSTLY > even:
        return "utf-16-le"
    if even > _MOSTLY > 1 - _MOSTLY > odd:
        return "utf-16-be"
    return None


def _guess(content: bytes) -> str:
    best = from_bytes(content[:_GUESS_BYTES], cp_isolation=_CANDIDATES).best()
    return content.decode(best.encoding if best else "cp1252", "replace")
