"""Runs in a pod: a bucket of S3 in memory, for those whose requests are signed with a key that is good (Signature Version 4)."""

import hashlib
import hmac
import re
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote
from uuid import uuid4
from xml.sax.saxutils import escape, unescape

from tests.support.kube.programs.keys import Provider, known, serve

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/((\d{8})/([^/]+)/s3/aws4_request), ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
_OBJECTS: dict[str, bytes] = {}
_UPLOADS: dict[str, dict[int, bytes]] = {}


class Store(Provider):
    def serve_one(self) -> None:
        """Let in whoever has signed, then do what he wants."""
        content = self.content()
        key, refusal = self.signer(content)
        path, _, query = self.path.partition("?")
        self.path = unquote(path)
        if key is None:
            self.say_xml(403, f"<Error><Code>{refusal}</Code><Message>{refusal}</Message></Error>", None)
        else:
            wanted = dict(parse_qsl(query, keep_blank_values=True))
            getattr(self, f"when_{self.command.lower()}")(key, wanted, content)

    do_GET = do_PUT = do_POST = do_DELETE = serve_one  # noqa: N815 - the library's names

    def signer(self, content: bytes) -> tuple[str | None, str]:
        """The name of the key that the request is signed with; without one why it is refused."""
        found = _AUTHORIZATION.fullmatch(self.headers.get("Authorization", ""))
        if found is None:
            return None, "AccessDenied"
        name, secret = next(((name, secret) for name, (own, secret) in known().items() if own == found[1]), (None, ""))
        if name is None:
            return None, "InvalidAccessKeyId"
        if self.headers["x-amz-content-sha256"] not in {"UNSIGNED-PAYLOAD", _sha256(content)}:
            return None, "XAmzContentSHA256Mismatch"
        signing = f"AWS4{secret}".encode()
        for part in (found[3], found[4], "s3", "aws4_request"):
            signing = hmac.digest(signing, part.encode(), "sha256")
        text = "\n".join(
            ["AWS4-HMAC-SHA256", self.headers["x-amz-date"], found[2], _sha256(self.canonical(found[5]).encode())]
        )
        right = hmac.digest(signing, text.encode(), "sha256").hex()
        return (name, "") if hmac.compare_digest(right, found[6]) else (None, "SignatureDoesNotMatch")

    def canonical(self, signed: str) -> str:
        """The request in the form that is signed."""
        path, _, query = self.path.partition("?")
        pairs = sorted(
            (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
            for name, value in parse_qsl(query, keep_blank_values=True)
        )
        headers = [f"{name}:{' '.join(self.headers[name].split())}" for name in signed.split(";")]
        query = "&".join(f"{name}={value}" for name, value in pairs)
        return "\n".join([self.command, path, query, *headers, "", signed, self.headers["x-amz-content-sha256"]])

    def when_put(self, key: str, wanted: dict[str, str], content: bytes) -> None:
        """Keep an object, or a part of one."""
        if "uploadId" in wanted:
            _UPLOADS[wanted["uploadId"]][int(wanted["partNumber"])] = content
        else:
            _OBJECTS[self.path] = content
        self.answer(200, key=key, ETag=_etag(content))

    def when_post(self, key: str, wanted: dict[str, str], content: bytes) -> None:
        """Begin an upload in parts, or put them together; forget a list of objects."""
        if "delete" in wanted:
            names = [unescape(each) for each in re.findall("<Key>(.*?)</Key>", content.decode())]
            for name in names:
                _OBJECTS.pop(f"{self.path.rstrip('/')}/{name}", None)
            said = "".join(f"<Deleted><Key>{escape(each)}</Key></Deleted>" for each in names)
            self.say_xml(200, f"<DeleteResult>{said}</DeleteResult>", key)
        elif "uploads" in wanted:
            upload = uuid4().hex
            _UPLOADS[upload] = {}
            said = f"<UploadId>{upload}</UploadId>"
            self.say_xml(200, f"<InitiateMultipartUploadResult>{said}</InitiateMultipartUploadResult>", key)
        else:
            parts = _UPLOADS.pop(wanted["uploadId"])
            _OBJECTS[self.path] = whole = b"".join(parts[number] for number in sorted(parts))
            said = f"<ETag>{_etag(whole)}</ETag>"
            self.say_xml(200, f"<CompleteMultipartUploadResult>{said}</CompleteMultipartUploadResult>", key)

    def when_get(self, key: str, _wanted: dict[str, str], _: bytes) -> None:
        """Show an object, or a range of it."""
        content = _OBJECTS.get(self.path)
        if content is None:
            self.say_xml(404, "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", key)
            return
        facts = {"ETag": _etag(content), "Last_Modified": formatdate(usegmt=True)}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span is None:
            self.answer(200, content, key=key, **facts)
            return
        first, last = int(span[1]), min(int(span[2]), len(content) - 1)
        facts["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], key=key, **facts)

    def when_delete(self, key: str, wanted: dict[str, str], _: bytes) -> None:
        """Forget an upload in parts that was broken off."""
        _UPLOADS.pop(wanted.get("uploadId", ""), None)
        self.answer(204, key=key)

    def say_xml(self, status: int, text: str, key: str | None) -> None:
        """An answer in the API's form."""
        self.answer(status, f'<?xml version="1.0"?>{text}'.encode(), key=key, Content_Type="application/xml")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


if __name__ == "__main__":
    serve(Store)
