"""Work on several entities at once, each in its own session, with the API usage counted."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from intacct_dagster.client import IntacctClient
from intacct_dagster.config import Settings
from intacct_dagster.defs.resources import IntacctResource, WarehouseResource

R = TypeVar("R")


@contextmanager
def counted(
    settings: Settings,
    intacct: IntacctResource,
    warehouse: WarehouseResource,
    run_id: str,
    entity: str,
    object: str,
) -> Iterator[IntacctClient]:
    """Open a client of an entity whose requests are added to the API usage, also if they fail."""
    client = intacct.entity(entity)
    try:
        yield client
    finally:
        warehouse.api_usage(settings.company).spend(
            at=datetime.now(UTC),
            run_id=run_id,
            entity=entity,
            object=object,
            requests=client.usage.requests,
            transactions=client.usage.transactions,
        )


def for_each(do: Callable[[str], R], entities: Iterable[str], at_once: int) -> list[tuple[str, R]]:
    """Call `do` for the entities, `at_once` at a time, and return the results in their order.

    Where calls fail, the first error is raised when all of them are over.
    """
    names = list(entities)
    with ThreadPoolExecutor(at_once) as threads:
        return list(zip(names, threads.map(do, names), strict=True))
