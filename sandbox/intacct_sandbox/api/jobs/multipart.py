"""Take the multipart body of a bulk job apart."""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_form

from intacct_sandbox.errors import rejections


def multipart_parts(content_type: str, body: bytes) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return fields and files of a multipart body, by name; raises `Rejection` (400)."""
    fields: dict[str, bytes] = {}
    files: dict[str, bytes] = {}

    def take_field(part: Any) -> None:
        fields[part.field_name.decode("utf-8", "replace")] = part.value or b""

    def take_file(part: Any) -> None:
        part.file_object.seek(0)
        files[part.field_name.decode("utf-8", "replace")] = part.file_object.read()

    if not content_type.lower().startswith("multipart/form-data"):
        raise rejections.bad_request("A bulk job is created with multipart/form-data")
    headers = {
        "Content-Type": content_type.encode("latin-1", "replace"),
        "Content-Length": str(len(body)).encode(),
    }
    try:
        parse_form(headers, _Stream(body), take_field, take_file)
    except (FormParserError, ValueError, KeyError) as error:
        raise rejections.bad_json(str(error)[:200] or "it is not multipart/form-data") from None
    return fields, files


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def read(self, size: int) -> bytes:
        piece = self._content[self._at : self._at + size]
        self._at += len(piece)
        return piece
