"""What nobody outside Sage knows about the API, as switches with a default and alternatives.

The switches are data: `behaviours.yaml`. A client is tested under every answer that Sage might
give, instead of relying on the one that it happened to meet.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import yaml

from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.catalogue import Json


@dataclass(frozen=True)
class Behaviour:
    """One open question: `values` maps each possible answer to what the sandbox then does."""

    name: str
    about: str
    values: Mapping[str, str]

    @property
    def default(self) -> str:
        """The first of the values."""
        return next(iter(self.values))


@functools.cache
def all_behaviours() -> Mapping[str, Behaviour]:
    """Return every switch by name, in the order of the file."""
    text = resources.files(__package__).joinpath("behaviours.yaml").read_text(encoding="utf-8")
    # The base loader leaves `false` and `200` the texts that a command line gives.
    content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - reads nothing but texts
    return {
        name: Behaviour(name, given["about"], dict(given["values"]))
        for name, given in content.items()
    }


class Behaviours:
    """The chosen value of every switch. Raises `SandboxError` for a name or value there is not."""

    def __init__(self, chosen: Mapping[str, str] | None = None) -> None:
        self._chosen = {name: one.default for name, one in all_behaviours().items()}
        self.choose(chosen or {})

    def choose(self, chosen: Mapping[str, str]) -> None:
        """Change some switches, or none if one of them cannot be."""
        for name, value in chosen.items():
            known = all_behaviours().get(name)
            if known is None:
                near = difflib.get_close_matches(name, all_behaviours(), n=1)
                meant = f" Did you mean {near[0]}?" if near else ""
                raise SandboxError(
                    f"There is no behaviour {name!r}.{meant}\n"
                    "`intacct-dagster sandbox behaviours` lists them."
                )
            if value not in known.values:
                raise SandboxError(
                    f"The behaviour {name} cannot be {value!r}: choose {', '.join(known.values)}."
                )
        self._chosen.update(chosen)

    def __getitem__(self, name: str) -> str:
        return self._chosen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def shown(self) -> dict[str, Json]:
        """Return it as the control API shows it."""
        return dict(self._chosen)


def read_choices(given: tuple[str, ...]) -> dict[str, str]:
    """`("refresh_rotation=grace", …)` as a mapping; raises `SandboxError` for another form."""
    chosen = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise SandboxError(f"A behaviour is given as NAME=VALUE, not {one!r}.")
        chosen[name.strip()] = value.strip()
    return chosen
