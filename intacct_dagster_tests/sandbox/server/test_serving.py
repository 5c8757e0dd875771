from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from intacct_dagster_tests.sandbox.caller import CLIENT, CUSTOMER, INVOICE, invoice
from intacct_sandbox import SandboxError, serve

_LIMIT = 30  # seconds; nothing here takes more than two


def _headers(base_url: str, username: str) -> dict[str, str]:
    asked = {"grant_type": "client_credentials", "username": username, **CLIENT}
    answer = httpx.post(f"{base_url}/oauth2/token", data=asked, timeout=_LIMIT)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def test_it_serves_over_http_and_tells_how_to_reach_it() -> None:
    with serve() as sandbox:
        assert sandbox.info["base_url"] == sandbox.base_url
        assert sandbox.info["client_id"] == CLIENT["client_id"]
        assert sandbox.info["users"] == {
            "top": ["E110", "E120", "E130", "E140"],
            "usa": ["E110"],
            "can": ["E120"],
            "gbr": ["E130"],
            "aus": ["E140"],
        }
        health = sandbox.base_url.replace("/ia/api/v1", "/_sandbox/health")
        assert httpx.get(health, timeout=_LIMIT).json()["status"] == "ok"


def test_a_taken_port_is_reported_in_a_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SandboxError) as caught, serve(port=port):
            pass
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1 is taken: stop what uses it, or choose another with --port."
    )


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000)])
def test_an_address_that_cannot_be_is_reported_in_a_line(host: str, port: int) -> None:
    with pytest.raises(SandboxError, match="choose others with"), serve(host=host, port=port):
        pass


def test_thirty_two_connections_lose_and_double_nothing() -> None:
    with serve() as sandbox:
        url, headers = sandbox.base_url, _headers(sandbox.base_url, "usa@demo")

        def write(number: int) -> list[str]:
            bodies = [invoice(referenceNumber=f"{number}.{place}") for place in range(5)]
            with httpx.Client(timeout=_LIMIT) as client:
                path = f"{url}/objects/{INVOICE}"
                answer = client.post(path, json=bodies, headers=headers)
            return [item["key"] for item in answer.json()["ia::result"]]

        with ThreadPoolExecutor(32) as pool:
            keys = [key for some in pool.map(write, range(64)) for key in some]
        assert len(set(keys)) == 64 * 5
        query = {
            "object": INVOICE,
            "fields": ["key", "referenceNumber"],
            "filters": [{"$in": {"key": keys}}],
            "size": 4000,
        }
        answer = httpx.post(
            f"{url}/services/core/query", json=query, headers=headers, timeout=_LIMIT
        )
        references = {row["referenceNumber"] for row in answer.json()["ia::result"]}
        assert references == {f"{number}.{place}" for number in range(64) for place in range(5)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_prints_one_line_serves_and_ends_cleanly(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = (
        "from pathlib import Path; from intacct_sandbox import run;"
        f"run(port=0, seed=1, state=Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            info = json.loads(process.stdout.readline())
            headers = _headers(info["base_url"], "top@demo")
            query = {"object": CUSTOMER, "fields": ["key"], "size": 1}
            answer = httpx.post(
                f"{info['base_url']}/services/core/query",
                json=query,
                headers=headers,
                timeout=_LIMIT,
            )
            assert answer.status_code == 200
            process.send_signal(number)
            rest, errors = process.communicate(timeout=_LIMIT)
        finally:
            process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")
    assert not (tmp_path / "sandbox.json").exists()
