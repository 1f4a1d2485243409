"""What may be said after `--language`."""

from __future__ import annotations

import difflib
import re

_CODES = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg
ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn
no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta
te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_TWO_LETTERS = frozenset(_CODES.split())
"""ISO 639-1."""

_NAMES = {
    "english": "en", "german": "de", "deutsch": "de", "french": "fr", "français": "fr", "spanish": "es", "español": "es",
    "russian": "ru", "русский": "ru", "italian": "it", "portuguese": "pt", "dutch": "nl", "polish": "pl", "turkish": "tr",
    "ukrainian": "uk", "chinese": "zh", "japanese": "ja", "korean": "ko", "arabic": "ar", "hindi": "hi", "swedish": "sv",
    "czech": "cs", "greek": "el", "hebrew": "he", "finnish": "fi", "danish": "da", "norwegian": "no", "hungarian": "hu",
}  # fmt: skip
_REGION = re.compile(r"(?P<language>[A-Za-z]{2,3})[-_.].+")
_THREE_LETTERS = re.compile(r"[a-z]{3}")
_EXAMPLES = "en, de, fr, es, ru"


def fault_of(code: str) -> str | None:
    """What is wrong with a language's code and what to write in its place; None when it is one.

    A code of three letters (ISO 639-3) is believed: there are some eight thousand.
    """
    if code in _TWO_LETTERS or _THREE_LETTERS.fullmatch(code):
        return None
    region = _REGION.fullmatch(code)
    meant = _NAMES.get(code.lower()) or (region["language"].lower() if region else code.lower())
    if meant != code and (meant in _TWO_LETTERS or _THREE_LETTERS.fullmatch(meant)):
        reason = "courses have a language and no region" if region else "a language is named by its code"
        return f"{code!r}: {reason}; write --language {meant}"
    close = difflib.get_close_matches(code.lower(), _NAMES, n=1)
    hint = f" Did you mean {_NAMES[close[0]]}?" if close else ""
    return f"{code!r} is no language's code (ISO 639); there are for example {_EXAMPLES}.{hint}"
