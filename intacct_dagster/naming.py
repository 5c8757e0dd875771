"""Every key and every name that Dagster is given for a company. Nothing else makes one.

With a `key_prefix` all of them carry it, so that several companies live in one code location or on
one Dagster instance. Without one they are as short as the tables that they stand for.
"""

from __future__ import annotations

from typing import Final, Self

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.warehouse.raw import table_name

#: Names the entity on each run that is launched without a person; dagster.yaml lets one run an
#: entity go at a time.
ENTITY_TAG: Final = "intacct/entity"
#: Names the company on runs of its jobs, sensors and schedules, and on its assets: its prefix.
COMPANY_TAG: Final = "intacct/company"

_COMPANY: Final = "sage_intacct"
#: What the keys of a company begin with, after its prefix. All but the last are schemas.
_SCHEMAS: Final = frozenset(
    {
        "raw",
        "intacct",
        "deletes",
        "feed",
        "reconciled",
        "plan",
        "posting",
        "crosswalk",
        "control",
        "reader",
    }
)


class Names:
    """The keys and names of one company.

    Args:
        prefix: The `key_prefix` of the company; empty if it has none.

    Example:
        >>> Names("acme").raw("accounts-receivable/invoice").to_user_string()
        'acme/raw/accounts_receivable_invoice'
        >>> Names().raw("accounts-receivable/invoice").to_user_string()
        'raw/accounts_receivable_invoice'
        >>> Names("acme").nightly
        'acme_nightly'
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix: Final = prefix
        # assets
        self.sage_intacct = self._key(_COMPANY)
        self.general_ledger = self.view("general_ledger")
        self.control = self._key("control", "general_ledger")
        self.snapshot = self._key("reader", "warehouse")
        # resources, and the pool of all ops that talk to Intacct. Its limit (dagster.yaml, or
        # Deployment > Concurrency in the UI) is how many of them may at once, over all processes.
        self.intacct = self._name("intacct")
        self.warehouse = self._name("warehouse")
        self.pool = self._name("intacct_api")
        # ops of several assets or checks
        self.extract = self._op("extract")
        self.delete_scan = self._op("delete_scan")
        self.refresh_current = self._op("refresh_current")
        self.refresh_analysts = self._op("refresh_analysts")
        self.look_at_raw = self._op("look_at_raw")
        # jobs
        self.read_job = self._name("read_intacct")
        self.delete_scan_job = self._name("weekly_sweep")
        self.closing_job = self._name("monthly_closing")
        self.look_job = self._name("daily_look")
        # schedules
        self.nightly = self._name("nightly")
        self.weekly_sweep = self._name("weekly_sweep")
        self.monthly_closing = self._name("monthly_closing")
        self.daily_look = self._name("daily_look")
        # sensors
        self.catch_up = self._name("catch_up")
        self.alerts = self._name("alerts")
        self.dead_runs = self._name("dead_runs")
        self.changes = self._name("changes_in_intacct")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the names of the company that the settings describe."""
        return cls(settings.key_prefix)

    def _key(self, *path: str) -> dg.AssetKey:
        return dg.AssetKey([self.prefix, *path] if self.prefix else list(path))

    def _name(self, name: str) -> str:
        return f"{self.prefix}_{name}" if self.prefix else name

    def _op(self, name: str) -> str:
        # As Dagster names the op of an asset by its key. A prefix has no two underscores together,
        # so that no name of a feed makes the ops of two companies alike.
        return f"{self.prefix}__{name}" if self.prefix else name

    def group(self, name: str) -> str:
        """Return the name of a group of assets."""
        return self._name(name)

    # assets of an object

    def raw(self, object: str) -> dg.AssetKey:
        """Return the key of an object's raw asset: the schema and the name of its table."""
        return self._key("raw", table_name(object))

    def current(self, object: str) -> dg.AssetKey:
        """Return the key of an object's current asset: the schema and the name of the table."""
        return self._key("intacct", table_name(object))

    def deletes(self, object: str) -> dg.AssetKey:
        """Return the key of an object's deletes: its tombstones, in `meta.tombstones`."""
        return self._key("deletes", table_name(object))

    def view(self, name: str) -> dg.AssetKey:
        """Return the key of a view for analysts: its schema and name."""
        return self._key("intacct", name)

    # assets of a feed

    def feed(self, feed: str) -> dg.AssetKey:
        """Return the key of a feed's asset: its valid lines, in the table `feed.<feed>`."""
        return self._key("feed", feed)

    def reconciled(self, feed: str) -> dg.AssetKey:
        """Return the key of a feed's reconciliation, the table `reconciled.<feed>`."""
        return self._key("reconciled", feed)

    def plan(self, feed: str) -> dg.AssetKey:
        """Return the key of a feed's plan, the table `plan.<feed>`."""
        return self._key("plan", feed)

    def posted(self, feed: str) -> dg.AssetKey:
        """Return the key of a feed's postings, the table `posting.<feed>`."""
        return self._key("posting", feed)

    def crosswalk(self, feed: str) -> dg.AssetKey:
        """Return the key of a feed's crosswalk, the view `crosswalk.<feed>`."""
        return self._key("crosswalk", feed)

    def table(self, schema: str, name: str) -> dg.AssetKey:
        """Return the key of the asset that makes a table of the warehouse. Raises ValueError."""
        if schema not in _SCHEMAS:
            raise ValueError(f"no asset makes tables of the schema {schema}")
        return self._key(schema, name)

    def table_of(self, key: dg.AssetKey) -> tuple[str, str]:
        """Return the schema and the name of the table that an asset of the company stands for.

        The schema is empty for the company itself, which has no table.
        """
        path = key.path[1:] if self.prefix else key.path
        schema, name = path if len(path) == 2 else ("", path[-1])
        return schema, name

    # names of a feed

    def post_op(self, feed: str) -> str:
        """Return the name of the op that sends a feed's plan."""
        return self._op(f"{feed}_post")

    def collect_op(self, feed: str) -> str:
        """Return the name of the op that stores what became of a feed's documents."""
        return self._op(f"{feed}_collect")

    def plan_job(self, feed: str) -> str:
        """Return the name of the job that plans a feed."""
        return self._name(f"plan_{feed}")

    def post_job(self, feed: str) -> str:
        """Return the name of the job that posts a feed."""
        return self._name(f"post_{feed}")

    def nightly_feed(self, feed: str) -> str:
        """Return the name of the schedule that runs a feed's query."""
        return self._name(f"nightly_{feed}")

    def files_of(self, feed: str) -> str:
        """Return the name of the sensor that looks at a feed's files."""
        return self._name(f"files_of_{feed}")

    def plan_of(self, feed: str) -> str:
        """Return the name of the sensor that renews a feed's plans."""
        return self._name(f"plan_of_{feed}")

    def posting_of(self, feed: str) -> str:
        """Return the name of the sensor that posts a feed's plans."""
        return self._name(f"posting_of_{feed}")

    # runs

    @property
    def tags(self) -> dict[str, str]:
        """The tags that name the company on a run or an asset; none if it has no prefix."""
        return {COMPANY_TAG: self.prefix} if self.prefix else {}

    def entity_tag(self, entity: str) -> str:
        """Return the value of ENTITY_TAG: entities of two companies may have the same id."""
        return f"{self.prefix}/{entity}" if self.prefix else entity

    def entity_of_tag(self, value: str) -> str:
        """Return the entity that `entity_tag` made a value of."""
        return value.removeprefix(f"{self.prefix}/") if self.prefix else value

    def owns(self, key: dg.AssetKey) -> bool:
        """Return whether an asset is not another company's.

        Without a prefix, assets of nobody's count as well: those that a team has beside its one
        company.
        """
        return _prefix_of(key) == self.prefix

    def concerns(self, run: dg.DagsterRun) -> bool:
        """Return whether a run is of this company, also if others' assets are part of it.

        Without a prefix, runs of no company's assets count as well.
        """
        return self.prefix in prefixes_of(run)


def prefixes_of(run: dg.DagsterRun) -> frozenset[str]:
    """Return the prefixes of the companies that a run is of; an empty one for all else.

    Runs of jobs, sensors and schedules have the tag. A run that a person started of assets, a
    backfill among them, has their keys.
    """
    tagged = run.tags.get(COMPANY_TAG)
    if tagged is not None:
        return frozenset({tagged})
    keys = {*(run.asset_selection or ())}
    keys |= {each.asset_key for each in run.asset_check_selection or ()}
    return frozenset(map(_prefix_of, keys)) or frozenset({""})


def _prefix_of(key: dg.AssetKey) -> str:
    """Return the prefix of a company's key; empty for keys without one, and for keys of others."""
    match key.path:
        case [prefix, schema, _] if schema in _SCHEMAS:
            return str(prefix)
        case [prefix, "sage_intacct"] if prefix not in _SCHEMAS:
            return str(prefix)
    return ""


#: The keys of a company without a prefix, by the name of an object or a feed.
_PLAIN: Final = Names()
raw_key = _PLAIN.raw
current_key = _PLAIN.current
deletes_key = _PLAIN.deletes
feed_key = _PLAIN.feed
reconciled_key = _PLAIN.reconciled
plan_key = _PLAIN.plan
posted_key = _PLAIN.posted
crosswalk_key = _PLAIN.crosswalk
