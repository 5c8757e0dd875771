"""A backfill through Dagster: what it costs beyond the pull and beyond Dagster itself.

`python backfill.py floor|pull|dagster PORT ENTITIES DAYS FOLDER` prints one line of JSON: `floor`
is Dagster with assets that do nothing, `pull` the same extraction without Dagster, `dagster` both.
A process of its own each. There is one run for each entity, with all its days and objects.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from empty_assets import empty
from page_server import ENTITY, START

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import Settings, read_settings
from intacct_dagster.defs import build_definitions, raw_key
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse import Warehouse

PROJECT = Path(__file__).resolve().parent.parent
OBJECTS = 5
FIRST = START.date()

_SETTINGS = """
company: bench
base_url: http://127.0.0.1:{port}/ia/api/v1
auth: {{grant: client_credentials, client_id: bench, client_secret: bench}}
entities: [{entities}]
start_date: {first}
end_date: {last}
objects: [{objects}]
warehouse: warehouse.duckdb
state: state.db
reading: {{look_back_days: 0}}
"""


def settings_text(port: str, entities: int, days: int) -> str:
    """Settings for the page server: it answers with rows of whichever entity is asked for."""
    return _SETTINGS.format(
        port=port,
        entities=", ".join(f"{{id: {each}, user: bench}}" for each in names(entities)),
        first=FIRST,
        last=FIRST + timedelta(days - 1),
        objects=", ".join(
            f"{{name: bench/object-{n}, history: from_start}}" for n in range(OBJECTS)
        ),
    )


def settings_of(port: str, entities: int, days: int, folder: Path) -> Settings:
    """The same, read."""
    return read_settings(settings_text(port, entities, days), file=folder / "intacct.yaml")


def names(entities: int) -> list[str]:
    """Ids of so many entities."""
    return [ENTITY, *(f"E{n}" for n in range(500, 499 + entities))]


def materialized(settings: Settings, days: int, definitions: dg.Definitions, folder: Path) -> int:
    """One run for each entity, as the definitions say; how many partitions became materialized."""
    keys = [raw_key(each.name) for each in settings.objects]
    shutil.copy(PROJECT / "dagster.yaml", folder)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        for entity in settings.entities:
            result = job.execute_in_process(
                instance=instance,
                asset_selection=keys,
                tags={
                    "dagster/asset_partition_range_start": partition_key(entity.id, FIRST),
                    "dagster/asset_partition_range_end": partition_key(
                        entity.id, FIRST + timedelta(days - 1)
                    ),
                },
            )
            assert result.success
        return sum(len(instance.get_materialized_partitions(key)) for key in keys)


def pull(settings: Settings, days: int) -> int:
    """The same days of the same objects, without Dagster."""
    users = {each.id: each.user for each in settings.entities}
    grant = ClientCredentials("bench", "bench")
    wanted = [FIRST + timedelta(n) for n in range(days)]
    with Intacct(settings.company, settings.base_url, grant, users) as intacct:
        extractor = Extractor(
            intacct,
            Warehouse(settings.warehouse),
            start_date=FIRST,
            run_id="bench",
            reading=settings.reading,
        )
        done = 0
        for entity in users:
            extractor.prepare(settings.objects, entity)
            with ThreadPoolExecutor(2 * settings.limits.concurrency) as pool:
                for each in pool.map(
                    lambda what, entity=entity: extractor.extract(what, entity, wanted),
                    settings.objects,
                ):
                    done += len(each.rows_by_day)
        return done


def main(what: str, port: str, entities: int, days: int, folder: Path) -> dict[str, Any]:
    """Measures one of the three."""
    os.chdir(folder)
    settings = settings_of(port, entities, days, folder)
    began, cpu = time.perf_counter(), time.process_time()
    if what == "pull":
        partitions = pull(settings, days)
    else:
        definitions = (
            dg.Definitions(
                [
                    empty(
                        [each.name for each in settings.objects],
                        [each.id for each in settings.entities],
                        FIRST,
                        FIRST + timedelta(days - 1),
                    )
                ],
                executor=dg.in_process_executor,
            )
            if what == "floor"
            else dg.Definitions.merge(
                build_definitions(settings), dg.Definitions(executor=dg.in_process_executor)
            )
        )
        partitions = materialized(settings, days, definitions, folder)
    assert partitions == entities * days * OBJECTS, partitions
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "partitions": partitions,
        "runs": 0 if what == "pull" else entities,
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["floor" | "pull" | "dagster" as what, port, entities, days, folder]:
            measured = main(what, port, int(entities), int(days), Path(folder).resolve())
            print(json.dumps(measured))
        case _:
            sys.exit(__doc__)
