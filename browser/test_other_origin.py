"""What a page of another origin can do to the UI that `intacct-dagster dev` opens: nothing.

Each attack is one that a browser lets any page try. `make browser` runs it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from intacct_dagster_tests.dev_server import LAUNCH, Dev, dev, params, project
from intacct_dagster_tests.ui_pages import UI
from intacct_sandbox import serve

_RUNS = "query { runsOrError { ... on Runs { results { id } } } }"
#: a launch that Dagster would take
_ASKED = {"query": LAUNCH, "variables": {"params": params({})}}
_IN_THE_ADDRESS = urlencode({"query": LAUNCH, "variables": json.dumps({"params": params({})})})
PATIENCE = 30_000

#: Each function resolves with what the page learns: "sent" says only that the browser sent it.
_ATTACKS = """
const text = {"Content-Type": "text/plain"}, json = {"Content-Type": "application/json"};
const failed = error => `${error.name}`;
const sent = answer => answer.type === "opaque" ? "sent" : `read ${answer.status}`;
const post = (url, headers, body, mode) =>
  fetch(url, {method: "POST", headers, body, mode}).then(sent, failed);
window.attacks = {
  textInTheAddress: (url, asked, query) => post(`${url}/graphql?${query}`, text, "", "no-cors"),
  textThatNamesJson: (url, asked) =>
    post(`${url}/graphql`, {"Content-Type": "text/plain; application/json"}, asked, "no-cors"),
  textReadable: (url, asked, query) => post(`${url}/graphql?${query}`, text, "", "cors"),
  json: (url, asked) => post(`${url}/graphql`, json, asked, "cors"),
  jsonAsBlob: (url, asked) =>
    post(`${url}/graphql`, {}, new Blob([asked], {type: "text/plain;application/json"}), "no-cors"),
  image: (url, asked, query) => new Promise(done => {
    const image = new Image();
    image.onload = () => done("loaded"); image.onerror = () => done("sent");
    image.src = `${url}/graphql?${query}`;
  }),
  form: (url, asked, query) => new Promise(done => {
    const frame = document.createElement("iframe");
    frame.name = "answer";
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, {method: "post", enctype: "text/plain", target: "answer"});
    form.action = `${url}/graphql?${query}`;
    document.body.append(form);
    frame.onload = () => done("sent");
    form.submit();
  }),
  websocket: (url) => new Promise(done => {
    try {
      const socket = new WebSocket(`${url.replace("http", "ws")}/graphql`, "graphql-ws");
      socket.onopen = () => done("open"); socket.onerror = () => done("refused");
    } catch (error) { done(failed(error)); }
  }),
};
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<body><script>{_ATTACKS}</script></body>".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another web server on this machine, whose page attacks."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(timeout=10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("dev")
    with serve() as sandbox:
        project(folder, sandbox)
        with dev(folder) as running:
            yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


def attack(page: Page, name: str, url: str) -> str:
    """What a page learns when it tries this."""
    asked = [name, url, json.dumps(_ASKED), _IN_THE_ADDRESS]
    return str(page.evaluate("([name, ...asked]) => window.attacks[name](...asked)", asked))


def launched(running: Dev) -> int:
    return len(UI(running.url).ask(_RUNS)["runsOrError"]["results"])


#: What the page learns. "sent" does not tell it what came of it; no run does.
LEARNED = {
    "textInTheAddress": "sent",
    "textThatNamesJson": "sent",
    "textReadable": "TypeError",
    "json": "TypeError",
    "jsonAsBlob": "sent",
    "image": "sent",
    "form": "sent",
    "websocket": "refused",
}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("site", ["localhost", "127.0.0.1", "rebound.example"])
def test_no_page_of_another_origin_launches_a_run(
    running: Dev, page: Page, elsewhere: int, site: str, name: str
) -> None:
    page.goto(f"http://{site}:{elsewhere}/")
    assert attack(page, name, running.url) == LEARNED[name]
    assert launched(running) == 0


@pytest.mark.parametrize("name", LEARNED)
def test_no_page_gets_to_dagster_past_the_guard(
    running: Dev, page: Page, elsewhere: int, name: str
) -> None:
    page.goto(f"http://localhost:{elsewhere}/")
    past = f"http://127.0.0.1:{running.behind}"
    assert past != running.url
    learned = attack(page, name, past)
    # an image and a frame do not say why they failed
    assert learned == {"image": "sent", "form": "sent", "websocket": "refused"}.get(
        name, "TypeError"
    )
    assert launched(running) == 0
    with pytest.raises(Error, match="ERR_UNSAFE_PORT"):
        page.goto(past)


@pytest.mark.parametrize("name", LEARNED)
def test_a_name_that_is_pointed_at_this_machine_does_not_become_the_ui(
    running: Dev, page: Page, name: str
) -> None:
    rebound = f"http://rebound.example:{urlsplit(running.url).port}"
    answer = page.goto(rebound)
    assert answer is not None
    assert answer.status == 403
    assert "rebound.example" in page.inner_text("body")
    page.evaluate(_ATTACKS)
    learned = attack(page, name, rebound)
    assert learned in ("sent", "refused", "read 403", "read 415")
    assert launched(running) == 0


def test_no_page_shows_the_ui_in_a_frame(running: Dev, page: Page, elsewhere: int) -> None:
    page.goto(f"http://localhost:{elsewhere}/")
    with page.expect_response(lambda answer: answer.url.startswith(running.url)) as shown:
        page.evaluate(
            "url => { const frame = document.createElement('iframe'); frame.src = url;"
            " document.body.append(frame); }",
            running.url,
        )
    assert shown.value.status == 403


def test_a_link_opens_the_ui_and_its_own_page_launches(
    running: Dev, page: Page, elsewhere: int
) -> None:
    page.goto(f"http://localhost:{elsewhere}/")
    page.evaluate("url => { location.href = url; }", f"{running.url}/assets")
    expect(page.get_by_text("customer").first).to_be_visible(timeout=PATIENCE)
    page.evaluate(_ATTACKS)
    assert attack(page, "websocket", running.url) == "open"
    assert attack(page, "json", running.url) == "read 200"
    assert launched(running) == 1
