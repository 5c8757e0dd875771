"""A launch names no address, secret or path: resources are bound to what the project says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from intacct_dagster import definitions
from intacct_dagster.component import IntacctCompany
from intacct_dagster.config import Auth
from intacct_dagster.defs import (
    IntacctResource,
    WarehouseResource,
    bind,
    build_definitions,
    raw_key,
)
from intacct_dagster_tests.code_location import PROJECT, CodeLocation, code_location
from intacct_sandbox import LAST_DAY

CUSTOMERS = raw_key("accounts-receivable/customer")
PARTITION = f"{LAST_DAY}|E110"
PROBE = "INTACCT_DAGSTER_TESTS_PROBE"


@pytest.fixture
def location(tmp_path: Path) -> Iterator[CodeLocation]:
    with code_location(tmp_path, persistent=True) as location:
        yield location


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """The base URL of somebody else's server, and all bytes that it received."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/ia/api/v1", received
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def launch(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    resources: Mapping[str, Any],
    key: dg.AssetKey = CUSTOMERS,
) -> dg.ExecuteInProcessResult:
    """Launch a run of one partition, with this in the launchpad under `resources`."""
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[key],
        partition_key=PARTITION,
        run_config={"resources": {name: {"config": each} for name, each in resources.items()}},
        raise_on_error=False,
    )


def test_no_environment_variable_goes_to_an_address_that_a_launch_names(
    location: CodeLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROBE, "the-value-of-any-variable")
    with listening() as (address, received):
        foreign = {
            "base_url": address,
            "company": "demo",
            "client_id": "x",
            "client_secret": {"env": PROBE},
            "state": f"sqlite:///{tmp_path}/another.db",
            "users": [{"entity": "E110", "user": "somebody"}],
        }
        with pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entr"):
            launch(build_definitions(location.settings), location.instance, {"intacct": foreign})
    assert received == []
    assert not (tmp_path / "another.db").exists()
    assert launch(build_definitions(location.settings), location.instance, {}).success


FOREIGN: list[tuple[str, Mapping[str, Any]]] = [
    ("intacct", {"base_url": "https://intacct.example/ia/api/v1"}),
    ("intacct", {"client_secret": {"env": PROBE}}),
    ("intacct", {"client_secret": "plain"}),
    ("intacct", {"redirect_uri": "https://intacct.example/callback"}),
    ("intacct", {"state": "sqlite:////tmp/another.db"}),
    ("intacct", {"users": [{"entity": "E110", "user": "somebody"}]}),
    (
        "intacct",
        {"xml": [{"sender_id": "x", "password": {"env": PROBE}, "url": "https://xml.example"}]},
    ),
    ("warehouse", {"path": "/tmp/another.duckdb"}),
    ("warehouse", {"state": {"env": PROBE}}),
    ("io_manager", {"base_dir": "/tmp/another"}),
    ("io_manager", {"base_dir": {"env": PROBE}}),
]


@pytest.mark.parametrize(("resource", "config"), FOREIGN, ids=lambda each: str(each)[:40])
def test_a_launch_of_the_project_that_names_another_is_refused(
    resource: str,
    config: Mapping[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INTACCT_CONFIG", str(PROJECT / "intacct.yaml"))
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entr"),
    ):
        launch(definitions.defs(), instance, {resource: config})


def test_every_resource_of_project_and_component_takes_nothing_from_a_launch(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTACCT_CONFIG", str(PROJECT / "intacct.yaml"))
    component = IntacctCompany(settings=str(PROJECT / "intacct.yaml"))
    for made in (
        definitions.defs(),
        dg.build_defs_for_component(component=component),
        build_definitions(location.settings),
    ):
        assert made.resources
        for name, resource in made.resources.items():
            with (
                pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entr"),
                dg.build_resources(
                    {name: resource}, resource_config={name: {"config": {"anything": "else"}}}
                ),
            ):
                pass


def test_no_definition_holds_the_secret_and_the_run_reads_the_variable(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = "INTACCT_DAGSTER_TESTS_SECRET"
    given = location.settings.auth
    monkeypatch.setenv(variable, "not-the-secret")
    auth = Auth(client_id=given.client_id, client_secret="not-the-secret", secret_variable=variable)
    made = build_definitions(location.settings.model_copy(update={"auth": auth}))
    assert not launch(made, location.instance, {}).success
    monkeypatch.setenv(variable, given.client_secret)
    assert launch(made, location.instance, {}).success


class Address(dg.ConfigurableResource["Address"]):
    """Where it is, and what it says there."""

    url: str
    secret: str

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Address]:
        CONTEXTS.append((context.run and context.run.run_id, context.instance))
        yield self


class Outer(dg.ConfigurableResource["Outer"]):
    """One that has another in it."""

    address: Address


CONTEXTS: list[Any] = []


def test_a_bound_resource_is_what_assets_are_given_and_knows_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CONTEXTS.clear()
    seen: list[tuple[str, str]] = []

    @dg.asset
    def reads(address: Address, outer: Outer, typed: dg.ResourceParam[Address]) -> None:
        seen.extend((each.url, each.secret) for each in (address, outer.address, typed))

    address = Address(url="https://ours.example", secret=dg.EnvVar(PROBE))
    made = dg.Definitions(
        assets=[reads],
        resources={
            "address": bind(address),
            "outer": bind(Outer(address=address)),
            "typed": bind(address),
            "io_manager": bind(dg.FilesystemIOManager()),
        },
    )
    monkeypatch.setenv(PROBE, "set after the definitions were made")
    job = made.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = job.execute_in_process(instance=instance)
        assert [(result.run_id, instance)] * 3 == CONTEXTS
        for name in ("address", "outer", "typed", "io_manager"):
            with pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entr"):
                job.execute_in_process(
                    instance=instance,
                    run_config={"resources": {name: {"config": {"url": "https://other.example"}}}},
                )
    assert seen == [("https://ours.example", "set after the definitions were made")] * 3


def test_a_bound_io_manager_hands_values_from_step_to_step(tmp_path: Path) -> None:
    @dg.asset
    def first() -> int:
        return 7

    @dg.asset
    def second(first: int) -> int:
        return first + 1

    made = dg.Definitions(
        assets=[first, second],
        resources={"io_manager": bind(dg.FilesystemIOManager(base_dir=str(tmp_path / "values")))},
    )
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = made.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert result.output_for_node("second") == 8
    assert (tmp_path / "values" / "second").is_file()


def test_the_resources_stay_configurable_in_code(tmp_path: Path) -> None:
    """Somebody who uses them alone may still leave a setting to the launch, and says so."""
    warehouse = WarehouseResource(path=str(tmp_path / "w.duckdb"), state=f"sqlite:///{tmp_path}/s")
    assert isinstance(warehouse, dg.ConfigurableResource)
    assert issubclass(IntacctResource, dg.ConfigurableResource)
    seen: list[str] = []

    @dg.asset
    def reads(warehouse: WarehouseResource) -> None:
        seen.append(warehouse.path)

    made = dg.Definitions(assets=[reads], resources={"warehouse": warehouse})
    made.resolve_implicit_global_asset_job_def().execute_in_process(
        run_config={
            "resources": {
                "warehouse": {
                    "config": {
                        "path": str(tmp_path / "o.duckdb"),
                        "state": f"sqlite:///{tmp_path}/s",
                    }
                }
            }
        }
    )
    assert seen == [str(tmp_path / "o.duckdb")]
