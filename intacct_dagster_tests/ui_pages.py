"""All that Dagster's UI shows: what its pages ask of the webserver, and the pages themselves."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg
import httpx

LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "intacct_dagster"}
JOB = "__ASSET_JOB"

_PARTS = """
fragment E on MetadataEntry {
  label description
  ... on TextMetadataEntry { text }
  ... on UrlMetadataEntry { url }
  ... on PathMetadataEntry { path }
  ... on JsonMetadataEntry { jsonString }
  ... on MarkdownMetadataEntry { mdStr }
  ... on IntMetadataEntry { intRepr }
  ... on FloatMetadataEntry { floatValue }
  ... on TableMetadataEntry { table { records } }
  ... on TableSchemaMetadataEntry { schema { columns { name type description } } }
}
fragment P on PythonError {
  message className stack causes { message stack } errorChain { error { message stack } }
}
"""

#: by page, what it asks; `$repository` is this code location
_QUERIES = {
    "deployment": """
      query {
        workspaceOrError { ... on Workspace { locationEntries {
          name displayMetadata { key value }
          locationOrLoadError { ... on PythonError { ...P } }
        } } }
        instance { info daemonHealth { allDaemonStatuses { daemonType lastHeartbeatErrors {
          ...P } } } concurrencyLimits { concurrencyKey limit } }
        utilizedEnvVarsOrError(repositorySelector: $repository) {
          ... on EnvVarWithConsumersList { results { envVarName } } }
      }""",
    "resources": """
      query { allTopLevelResourceDetailsOrError(repositorySelector: $repository) {
        ... on ResourceDetailsList { results {
          name description configuredValues { key value type }
          configFields { name description defaultValueAsJson } } }
        ... on PythonError { ...P }
      } }""",
    "assets": """
      query { repositoryOrError(repositorySelector: $repository) { ... on Repository {
        displayMetadata { key value }
        jobs { name description tags { key value } }
        assetNodes {
          assetKey { path } description tags { key value } metadataEntries { ...E }
          configField { name description defaultValueAsJson }
          assetMaterializations { runId partition tags { key value } metadataEntries { ...E } }
          assetObservations { metadataEntries { ...E } }
          assetChecksOrError { ... on AssetChecks { checks {
            name description
            executionForLatestMaterialization { evaluation { description metadataEntries { ...E }
          } } } } }
        } } } }""",
    "launchpad": """
      query { runConfigSchemaOrError(selector: $job) {
        ... on RunConfigSchema { rootDefaultYaml allConfigTypes {
          key description
          ... on CompositeConfigType { fields { name description defaultValueAsJson } }
        } }
        ... on PythonError { ...P }
      } }""",
    "runs": """
      query { runsOrError { ... on Runs { results {
        id jobName status runConfigYaml tags { key value } stepKeysToExecute
        eventConnection(limit: 2000) { hasMore events {
          __typename
          ... on MessageEvent { message stepKey level eventType }
          ... on DisplayableEvent { description metadataEntries { ...E } }
          ... on ExecutionStepFailureEvent { error { ...P } failureMetadata { metadataEntries {
            ...E } } }
          ... on ExecutionStepUpForRetryEvent { error { ...P } }
          ... on RunFailureEvent { error { ...P } }
          ... on EngineEvent { error { ...P } }
          ... on LogsCapturedEvent { fileKey }
          ... on AssetCheckEvaluationEvent { evaluation { description metadataEntries { ...E } } }
        } }
      } } } }""",
    "automation": """
      query {
        sensorsOrError(repositorySelector: $repository) { ... on Sensors { results {
          name description sensorState { status ticks { status skipReason cursor error { ...P }
            logEvents { events { message } } } } } } }
        schedulesOrError(repositorySelector: $repository) { ... on Schedules { results {
          name description scheduleState { status ticks { status skipReason error { ...P } } } } } }
      }""",
    "a look of a sensor": """
      mutation { sensorDryRun(selectorData: $sensor, cursor: null) {
        ... on DryRunInstigationTick { evaluationResult {
          skipReason cursor error { ...P } runRequests { runKey runConfigYaml tags { key value } }
        } }
        ... on PythonError { ...P }
      } }""",
    "output": """
      query { capturedLogs(logKey: $key) { stdout stderr } }""",
}
_KINDS = {
    "repository": "RepositorySelector!",
    "job": "PipelineSelector!",
    "sensor": "SensorSelector!",
    "key": "[String!]!",
}
_HEALTH = """
query { instance { daemonHealth { daemonStatus(daemonType: "QUEUED_RUN_COORDINATOR") {
  healthy } } } }
"""
_LAUNCH = """
mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { id } }
  ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }
"""


class UI:
    """Dagster's webserver at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=60)

    def answers(self, daemon: bool) -> bool:
        """Whether it is up; with `daemon`, whether its daemon is as well."""
        try:
            self._client.get("/server_info", timeout=5).raise_for_status()
            health = self.ask(_HEALTH)["instance"]["daemonHealth"] if daemon else {}
        except httpx.HTTPError:
            return False
        return all(each["healthy"] for each in health.values())

    def launch(self, assets: Sequence[dg.AssetKey], tags: Mapping[str, str]) -> str:
        """Launches a run of assets, as the button *Materialize* does; its id."""
        selected = [{"path": list(key.path)} for key in assets]
        params = {
            "selector": {**LOCATION, "pipelineName": JOB, "assetSelection": selected},
            "mode": "default",
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        launched = self.ask(_LAUNCH, {"params": params})["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["id"])

    def status(self, run: str) -> str:
        """What became of a run so far."""
        asked = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.ask(asked, {"id": run})["runOrError"]["status"])

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a query or a mutation of the UI answers."""
        asked = {"query": query, "variables": variables or {}}
        found: dict[str, Any] = self._client.post("/graphql", json=asked).json()
        assert "errors" not in found, found
        return dict(found["data"])

    def everything(self) -> dict[str, str]:
        """All that its pages show, by page, and the pages."""
        shown = {}
        for page in ("deployment", "resources", "assets", "launchpad", "runs", "automation"):
            shown[page] = self._page(page)
        runs = self._runs()
        for name in self._sensors:
            sensor = {**LOCATION, "sensorName": name}
            shown[f"a look of {name}"] = self._page("a look of a sensor", sensor=sensor)
        for run, file_key in runs:
            key = [run, "compute_logs", file_key]
            shown[f"output {file_key}"] = self._page("output", key=key)
        ids = sorted({run for run, _ in runs})
        for id_ in ids:
            debug = self._client.get(f"/download_debug/{id_}").raise_for_status().content
            shown[f"debug file of {id_}"] = gzip.decompress(debug).decode()
        pages = ["", "overview/activity", "runs", "assets", "asset-groups", "automation", "jobs"]
        pages += ["deployment/locations", "deployment/config", "deployment/concurrency"]
        pages += [f"runs/{id_}" for id_ in ids]
        pages += [f"locations/{quote('__repository__@intacct_dagster')}/resources/intacct"]
        for page in pages:
            answer = self._client.get(f"/{page}", headers={"Accept": "text/html"})
            shown[f"/{page}"] = answer.raise_for_status().text
        return shown

    def _runs(self) -> list[tuple[str, str]]:
        """Ids of the runs, with the key of each of their outputs."""
        found = self._asked("runs")["runsOrError"]["results"]
        assert found
        return [
            (run["id"], event["fileKey"])
            for run in found
            for event in run["eventConnection"]["events"]
            if event["__typename"] == "LogsCapturedEvent"
        ]

    @property
    def _sensors(self) -> list[str]:
        return [each["name"] for each in self._asked("automation")["sensorsOrError"]["results"]]

    def _page(self, page: str, **variables: object) -> str:
        return "\n".join(_texts(self._asked(page, **variables)))

    def _asked(self, page: str, **variables: object) -> dict[str, Any]:
        query = _QUERIES[page]
        given = {"repository": LOCATION, "job": {**LOCATION, "pipelineName": JOB}, **variables}
        named = {name: kind for name, kind in _KINDS.items() if f"${name}" in query}
        if named:
            head = ", ".join(f"${name}: {kind}" for name, kind in named.items())
            word = query.split()[0]
            query = query.replace(word, f"{word} ({head})", 1)
        for part in "EP":
            if f"...{part}" in query:
                query += _FRAGMENTS[part]
        return self.ask(query, {name: given[name] for name in named})


_FRAGMENTS = {
    text.split()[0]: f"fragment {text}" for text in _PARTS.split("fragment ") if text.strip()
}


def _texts(shown: object) -> Iterator[str]:
    """Every name and text in an answer, as a person would read it."""
    if isinstance(shown, dict):
        for name, inner in shown.items():
            yield name
            yield from _texts(inner)
    elif isinstance(shown, list):
        for inner in shown:
            yield from _texts(inner)
    elif shown is not None:
        yield str(shown)
