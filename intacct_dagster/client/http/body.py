"""Reads the body of an answer piece by piece, and stops at a bound."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Final, Protocol

import httpx

#: The encodings that requests ask for. Any other could unfold to any size within the decoder.
ACCEPTED_ENCODINGS: Final = "gzip, deflate"

_GZIP, _ZLIB, _RAW_DEFLATE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}

# A piece of the body as it is decompressed: what may be held in excess of the bound.
_PIECE: Final = 256 * 1024


class BodyTooLarge(Exception):
    """The body is larger than the bound; nothing beyond it was received."""


class DeadlinePassed(Exception):
    """The whole answer was not there when the time for the request had passed."""


class EncodingUnknown(Exception):
    """The body is encoded in a way that was not asked for."""


class _Decoder(Protocol):
    def decode(self, piece: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None: ...


def read_body(response: httpx.Response, most: int, deadline: float) -> bytes:
    """Return the decoded body of a response.

    Args:
        response: A response whose body was not read yet.
        most: The bytes that it may have, decoded.
        deadline: The moment of `time.monotonic` at which reading stops.

    Raises:
        BodyTooLarge: It has more bytes.
        DeadlinePassed: It was not there in time.
        EncodingUnknown: Its Content-Encoding is none of ACCEPTED_ENCODINGS.
        httpx.RequestError: The connection failed, or the body is damaged.
    """
    if response.is_stream_consumed:  # a transport that has the whole answer at once
        if len(response.content) > most:
            raise BodyTooLarge
        return response.content
    length = response.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > len(str(most)) or int(length) > most):
        raise BodyTooLarge
    decoder = _decoder(response)
    body = BytesIO()  # hands its bytes over without a copy
    for received in response.iter_raw():
        for piece in decoder.decode(received):
            if body.tell() + len(piece) > most:
                raise BodyTooLarge
            body.write(piece)
        if time.monotonic() > deadline:
            raise DeadlinePassed
    decoder.finish()
    return body.getvalue()


def _decoder(response: httpx.Response) -> _Decoder:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return _Plain()
    if encoding not in _WINDOWS:
        raise EncodingUnknown(f"its Content-Encoding is {encoding[:40]!r}")
    return _Inflater(response.request, _WINDOWS[encoding])


class _Plain:
    def decode(self, piece: bytes) -> Iterator[bytes]:
        yield piece

    def finish(self) -> None:
        """Accept whatever came: the framing of HTTP says where it ends."""


class _Inflater:
    """Decompresses at most `_PIECE` bytes at a time, however small the input."""

    def __init__(self, request: httpx.Request, window: int) -> None:
        self._request = request
        self._inflate = zlib.decompressobj(window)
        self._maybe_raw = window == _ZLIB
        self._began = False

    def decode(self, piece: bytes) -> Iterator[bytes]:
        left = piece
        while left and not self._inflate.eof:
            yield self._some(left)
            left = self._inflate.unconsumed_tail

    def finish(self) -> None:
        # What was cut is in the decompressor's own buffer, and no answer is whole without it.
        if self._began and not self._inflate.eof:
            raise httpx.DecodingError("the compressed answer is cut short", request=self._request)

    def _some(self, data: bytes) -> bytes:
        try:
            decoded = self._inflate.decompress(data, _PIECE)
        except zlib.error as error:
            if not self._maybe_raw or self._began:
                raise httpx.DecodingError(str(error), request=self._request) from error
            # Some servers send `deflate` without the header of zlib.
            self._maybe_raw = False
            self._inflate = zlib.decompressobj(_RAW_DEFLATE)
            return self._some(data)
        self._began = True
        return decoded
