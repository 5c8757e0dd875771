"""The company's limit of requests in flight holds over all processes of an instance."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg
import httpx
import pytest
import yaml

from intacct_dagster.config import load_settings
from intacct_dagster.defs import build_definitions
from intacct_dagster.naming import Names
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.extraction import extract_child
from intacct_dagster_tests.state.state_stores import STORES, empty_store
from intacct_sandbox import RunningSandbox, serve

POOL = Names().pool
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([extract_child.__name__])


def test_every_op_that_talks_to_intacct_is_in_the_pool() -> None:
    definitions = build_definitions(load_settings(PROJECT / "intacct.yaml"))
    outside = [
        op.name
        for asset in definitions.resolve_asset_graph().assets_defs
        for op in (asset.node_def.iterate_op_defs() if asset.is_executable else ())
        if "intacct" in op.required_resource_keys and op.pool != POOL
    ]
    assert outside == []


class InFlight:
    """How many requests the sandbox had under way together, at most."""

    def __init__(self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._admit = sandbox.books.throttle.admit
        monkeypatch.setattr(sandbox.books.throttle, "admit", self._counted)

    def _counted(self, now: datetime) -> AbstractContextManager[Mapping[str, str]]:
        @contextmanager
        def admitted() -> Iterator[Mapping[str, str]]:
            with self._admit(now) as headers:
                self._count(1)
                try:
                    yield headers
                finally:
                    self._count(-1)

        return admitted()

    def _count(self, by: int) -> None:
        with self._lock:
            self._now += by
            self.most = max(self.most, self._now)


@pytest.mark.parametrize("store", STORES)
def test_two_processes_that_extract_at_once_stay_within_what_the_plan_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """Dagster is as it comes: no pool has a limit, and nothing of this project stores its runs."""
    stock = {"telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(stock), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.event_log_storage.get_pool_limits() == []
    with empty_store(store, tmp_path) as state, serve(tier="none") as sandbox:
        control = sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox"
        slow = [{"route": "query", "latency": 0.15}]
        httpx.put(f"{control}/faults", content=json.dumps(slow)).raise_for_status()
        in_flight_at_once = InFlight(sandbox, monkeypatch)
        ready = PROCESSES.Barrier(2)
        two = [
            PROCESSES.Process(
                target=extract_child.extract,
                args=(sandbox.base_url, tmp_path, state, entity, ready),
            )
            for entity in ("E110", "E120")
        ]
        for each in two:
            each.start()
        for each in two:
            each.join(120)
        assert [each.exitcode for each in two] == [0, 0]
    assert in_flight_at_once.most == 6
