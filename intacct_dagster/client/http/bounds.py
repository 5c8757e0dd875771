"""Bounds on one request and its answer, which a real answer never reaches, and on our clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What one request may take, and how far our clock may be off.

    Args:
        request_seconds: Seconds from the first byte that is sent to the last one that is received.
            A server that sends a byte a second would otherwise hold a session for ever.
        response_bytes: Bytes of an answer, after decompression. A page of 4,000 rows has a few
            million.
        clock_skew_seconds: Seconds that the clock of this machine may be off before nothing is
            posted any more.
    """

    request_seconds: float = 600.0
    response_bytes: int = 256 * 1024 * 1024
    clock_skew_seconds: float = 300.0


DEFAULT_BOUNDS = Bounds()
