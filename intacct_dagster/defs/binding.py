"""Resources whose settings a launch cannot change."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg


def bind(
    resource: dg.ConfigurableResource[Any] | dg.ConfigurableIOManagerFactory[Any],
) -> dg.ResourceDefinition:
    """Return `resource` with its settings fixed, for the `resources` of `dg.Definitions`.

    Dagster takes settings of a configurable resource from the run config, so whoever reaches the
    launchpad can have a run send any environment variable to any address. A bound resource has no
    settings to take: a launch that names one is refused. Assets ask for it by its type, as before.
    `dg.EnvVar` is resolved by each process that uses the resource, when it does; Dagster's UI shows
    neither the variables nor the other settings.

    Args:
        resource: A resource or an IO manager with all its settings. A resource that is nested in it
            is bound with it.

    Returns:
        The definition to give to Dagster, under the name that assets ask for.

    Example:
        >>> class Bank(dg.ConfigurableResource):
        ...     url: str
        ...     token: str
        >>> bank = Bank(url="https://bank.example", token=dg.EnvVar("BANK_TOKEN"))
        >>> defs = dg.Definitions(resources={"bank": bind(bank)})
    """
    description = inspect.getdoc(type(resource))
    if isinstance(resource, dg.ConfigurableIOManagerFactory):
        # Dagster accepts nothing else where an output asks for its IO manager.
        return dg.IOManagerDefinition(
            resource_fn=_opening(resource), config_schema={}, description=description
        )
    # `{}` is a schema that refuses every field; without a schema, any field is accepted.
    return dg.ResourceDefinition(
        resource_fn=_opening(resource), config_schema={}, description=description
    )


def _opening(
    resource: dg.ConfigurableResource[Any] | dg.ConfigurableIOManagerFactory[Any],
) -> Callable[[dg.InitResourceContext], Any]:
    @contextmanager
    def opened(context: dg.InitResourceContext) -> Iterator[object]:
        with dg.build_resources(
            {"bound": resource},
            instance=context.instance,
            dagster_run=context.run,
            log_manager=context.log,
        ) as built:
            yield built.bound

    return opened
