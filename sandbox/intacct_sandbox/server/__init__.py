"""Serve the sandbox over HTTP: in this process, or in a thread of it."""

from __future__ import annotations

from .app import BASE_PATH, create_app
from .serving import RunningSandbox, run, serve

__all__ = ["BASE_PATH", "RunningSandbox", "create_app", "run", "serve"]
