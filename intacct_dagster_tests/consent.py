"""A person at a browser, for the consent page of the sandbox."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx


def sent_back_to(url: str, user: str, decision: str = "allow") -> str:
    """The address that the browser is sent to after `user` decided on the page at `url`."""
    asked = dict(parse_qsl(urlsplit(url).query))
    page = url.split("?", maxsplit=1)[0]
    answer = httpx.post(page, data={**asked, "user": user, "decision": decision})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


class Person:
    """Opens each page in a thread, as `users` in turn, and goes wherever it is sent."""

    def __init__(self, *users: str, decision: str = "allow") -> None:
        self.users = list(users)
        self.decision = decision
        self.urls: list[str] = []
        self.answers: list[httpx.Response] = []
        self.threads: list[threading.Thread] = []

    def open(self, url: str) -> bool:
        """Stands in for `webbrowser.open`."""
        self.urls.append(url)
        user = self.users.pop(0)
        thread = threading.Thread(target=self._go, args=(url, user))
        self.threads.append(thread)
        thread.start()
        return True

    def _go(self, url: str, user: str) -> None:
        self.answers.append(httpx.get(sent_back_to(url, user, self.decision)))

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Ends when all that was opened has been answered."""
        yield
        for thread in self.threads:
            thread.join(10)


def _main(user: str, url: str) -> None:
    httpx.get(sent_back_to(url, user))


def write_project(folder: Path, base_url: str, *, grant: str, port: int) -> None:
    """An intacct.yaml of the sandbox company with one small object."""
    folder.joinpath("intacct.yaml").write_text(
        f"""\
company: demo
base_url: {base_url}
auth:
  grant: {grant}
  client_id: sandbox.app.sage.com
  client_secret: sandbox-secret
  redirect_uri: http://127.0.0.1:{port}/callback
entities:
  - {{id: E110, user: usa}}
  - {{id: E120, user: can}}
start_date: 2026-10-13
objects:
  - accounts-receivable/customer
""",
        encoding="utf-8",
    )


if __name__ == "__main__":  # as the BROWSER of a terminal, with the user's name before the page
    _main(*sys.argv[1:])
