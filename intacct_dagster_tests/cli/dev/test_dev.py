"""`intacct-dagster dev`: the UI and the daemon behind the guard, launches, and Ctrl-C."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from intacct_dagster.cli.dev.ui_guard import answers
from intacct_dagster_tests.dev_server import LAUNCH, VALUE, VARIABLE, dev, params, project
from intacct_dagster_tests.ui_pages import JOB, LOCATION, UI
from intacct_sandbox import CLIENT_SECRET, serve

_SECONDS = 180

_RUNS = "query { runsOrError { ... on Runs { results { id } } } }"
_RESOURCES = """
query ($repository: RepositorySelector!) {
  allTopLevelResourceDetailsOrError(repositorySelector: $repository) {
    ... on ResourceDetailsList { results {
      name configFields { name } configuredValues { key }
    } }
  }
}
"""
_SCHEMA = """
query ($job: PipelineSelector!) { runConfigSchemaOrError(selector: $job) {
  ... on RunConfigSchema { rootDefaultYaml rootConfigType { key } allConfigTypes {
    key ... on CompositeConfigType { fields { name configTypeKey } }
  } }
} }
"""


def launch(ui: UI, resources: Mapping[str, Any]) -> dict[str, Any]:
    """What Dagster answers to a launch with this in the launchpad under `resources`."""
    return dict(ui.ask(LAUNCH, {"params": params(resources)})["launchRun"])


def offered(ui: UI) -> set[str]:
    """The path of each field that the launchpad offers and that has no further fields."""
    job = {**LOCATION, "pipelineName": JOB}
    schema = ui.ask(_SCHEMA, {"job": job})["runConfigSchemaOrError"]
    fields = {each["key"]: each.get("fields") or [] for each in schema["allConfigTypes"]}

    def leaves(key: str, path: str) -> Iterator[str]:
        if not fields.get(key):
            yield path
        for each in fields.get(key, []):
            yield from leaves(each["configTypeKey"], f"{path}/{each['name']}")

    return set(leaves(schema["rootConfigType"]["key"], ""))


def finished(ui: UI) -> str:
    """How the only run there is ended."""
    asked = "query { runsOrError { ... on Runs { results { id status } } } }"
    moment = threading.Event()
    for _ in range(_SECONDS * 4):
        (run,) = ui.ask(asked)["runsOrError"]["results"]
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            return str(run["status"])
        moment.wait(0.25)
    raise AssertionError(f"the run did not end within {_SECONDS} s")


def test_launches_through_dev_change_no_resource_and_pages_of_elsewhere_launch_nothing(
    tmp_path: Path,
) -> None:
    with serve() as sandbox, serve() as elsewhere:
        project(tmp_path, sandbox)
        with dev(tmp_path, "--allow-host", "books.example") as running:
            ui = UI(running.url)
            no_launch_names_another(ui, elsewhere.base_url, tmp_path)
            no_page_of_elsewhere_launches(running.url, elsewhere.base_url)
            assert ui.ask(_RUNS)["runsOrError"]["results"] == []
            assert launch(ui, {})["__typename"] == "LaunchRunSuccess"
            assert finished(ui) == "SUCCESS", "the daemon runs what is launched"
            nothing_of_the_resources_is_shown(ui, sandbox.base_url)
            status = running.interrupt()
        assert status == 0, running.printed
        assert not answers(running.behind), "Ctrl-C ends Dagster's processes too"
        assert "Traceback" not in running.printed


def no_launch_names_another(ui: UI, elsewhere: str, folder: Path) -> None:
    foreign: list[tuple[str, dict[str, Any]]] = [
        ("intacct", {"base_url": elsewhere, "client_secret": {"env": VARIABLE}}),
        ("intacct", {"state": f"sqlite:///{folder}/another.db"}),
        ("warehouse", {"path": str(folder / "another.duckdb")}),
        ("io_manager", {"base_dir": str(folder / "another")}),
    ]
    for resource, config in foreign:
        answer = launch(ui, {resource: config})
        assert answer["__typename"] == "RunConfigValidationInvalid"
        reason = "\n".join(each["message"] for each in answer["errors"])
        assert "unexpected config entr" in reason
    assert not list(folder.glob("another*"))


def no_page_of_elsewhere_launches(url: str, elsewhere: str) -> None:
    asked = {"query": LAUNCH, "variables": {"params": params({})}}
    as_json = {"Content-Type": "application/json"}
    foreign = "https://evil.example"
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/plain; application/json"},
        {"Content-Type": "text/plain", "Origin": foreign, "Host": "evil.example"},
        {**as_json, "Origin": foreign},
        {**as_json, "Origin": foreign, "Host": "evil.example"},
        {**as_json, "Host": "evil.example"},
        {**as_json, "Origin": "null"},
    ):
        answer = httpx.post(f"{url}/graphql", json=asked, headers=headers)
        assert answer.status_code in (403, 415), headers
        assert "access-control-allow-origin" not in answer.headers
    by_address = {"query": LAUNCH, "variables": json.dumps({"params": params({})})}
    assert httpx.get(f"{url}/graphql", params=by_address).status_code == 405
    text = {"Content-Type": "text/plain"}
    assert httpx.post(f"{url}/graphql", params=by_address, headers=text).status_code == 415
    websocket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "graphql-ws",
    }
    for headers, status in (
        ({"Origin": foreign}, 403),
        ({"Origin": foreign, "Host": "evil.example"}, 403),
        ({"Origin": url}, 101),
        ({"Origin": "https://books.example", "Host": "books.example"}, 101),
    ):
        answer = httpx.get(f"{url}/graphql", headers={**websocket, **headers})
        assert answer.status_code == status, headers


def nothing_of_the_resources_is_shown(ui: UI, base_url: str) -> None:
    fields = offered(ui)
    assert {each for each in fields if each.startswith("/resources/")} == {
        *("/resources/intacct/config", "/resources/warehouse/config"),
        "/resources/io_manager/config",
    }
    ops = {each for each in fields if each.startswith("/ops/")}
    assert {each for each in ops if not re.fullmatch(r"/ops/\w+/config", each)} == set()
    resources = ui.ask(_RESOURCES, {"repository": LOCATION})["allTopLevelResourceDetailsOrError"]
    assert {each["name"] for each in resources["results"]} == {"intacct", "warehouse", "io_manager"}
    for each in resources["results"]:
        assert each["configFields"] == each["configuredValues"] == [], each["name"]
    everything = ui.everything()
    for page, shown in everything.items():
        assert CLIENT_SECRET not in shown, page
        assert VALUE not in shown, page
    for setting in ("INTACCT_CLIENT_SECRET", base_url, "state.db"):
        assert setting not in everything["resources"]
        assert setting not in everything["launchpad"]
