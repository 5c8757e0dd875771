"""What assets are given: sessions with Intacct, and the warehouse."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from pydantic import Field, PrivateAttr

from intacct_dagster.client import Bounds, Intacct, IntacctClient, IntacctError, xml_access
from intacct_dagster.company import open_company
from intacct_dagster.config import Settings
from intacct_dagster.defs.binding import bind
from intacct_dagster.locks import LockError, LockTimeout
from intacct_dagster.naming import Names
from intacct_dagster.state import (
    ApiUsage,
    Approvals,
    LostPostings,
    Pairing,
    Plans,
    StateError,
    open_state,
)
from intacct_dagster.state.ledger import Ledger
from intacct_dagster.state.locks import state_locks
from intacct_dagster.warehouse import (
    Published,
    Snapshot,
    Warehouse,
    WarehouseError,
)

#: Seconds that a run waits for another that reads the same entity: a backfill of years takes hours.
ENTITY_WAIT_SECONDS = 6 * 3600.0


_BOUNDS = Bounds()

#: Runs that wait of which it is asked whether they are of this company.
_LOOKED_AT = 100


def _warn(context: dg.InitResourceContext, error: LockError | WarehouseError) -> None:
    """Log that there is no new copy. The run does not fail for it; the age of the copy shows it."""
    if context.log is not None:
        context.log.warning(f"The copy for readers was not made: {error}")


def published(done: Published) -> dict[str, dg.MetadataValue]:
    """Return the metadata of a snapshot that was published."""
    return {
        "path": dg.MetadataValue.path(str(done.path)),
        "as_of": dg.MetadataValue.timestamp(done.as_of),
        "bytes": dg.MetadataValue.int(done.bytes),
        "seconds": dg.MetadataValue.float(round(done.seconds, 3)),
        "seconds_warehouse_held": dg.MetadataValue.float(round(done.seconds_held, 3)),
    }


def _awaited(instance: dg.DagsterInstance | None, names: Names) -> bool:
    """Whether a run will come that is not at work yet: it will see to the copy when it ends."""
    waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING]
    if instance is None:
        return False
    # Of a longer queue of other companies alone the copy is made once more than it has to be.
    runs = instance.get_runs(dg.RunsFilter(statuses=waiting), limit=_LOOKED_AT)
    return any(map(names.concerns, runs))


class EntityUser(dg.Config):
    """A legal entity and the Sage user whose sessions read and post its books."""

    entity: str
    user: str


class XmlSender(dg.Config):
    """Who asks the XML API, and where. Give `password` as `dg.EnvVar`."""

    sender_id: str
    password: str
    url: str = ""
    utc_offset: str = "+00:00"
    time_zone: str = ""


class IntacctResource(dg.ConfigurableResource["IntacctResource"]):
    """OAuth sessions with one Intacct company, one for each entity.

    Sessions are kept encrypted in the state store, so that processes share them and only one
    renews, and so are the slots of requests in flight: `concurrency` holds over all of them.
    Objects that only the XML API has need its sender, one, in `xml`.

    Give `client_secret` as `dg.EnvVar`, and pass the resource through `bind`: otherwise Dagster's
    UI shows its settings, and a launch can change them.
    """

    company: str
    base_url: str
    grant: str = "client_credentials"
    client_id: str
    client_secret: str
    redirect_uri: str = ""
    session_key: str = "file"
    users: list[EntityUser]
    state: str
    concurrency: int = 6
    request_seconds: float = _BOUNDS.request_seconds
    response_bytes: int = _BOUNDS.response_bytes
    clock_skew_seconds: float = _BOUNDS.clock_skew_seconds
    xml: list[XmlSender] = Field(default_factory=list)
    _intacct: Intacct | None = PrivateAttr(default=None)
    _unopened: str | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["IntacctResource"]:
        """Opens the company for the length of a run, and closes its connections afterwards."""
        engine = open_state(self.state)
        try:
            company = self._opened(engine)
        except (IntacctError, LockError, StateError) as error:
            # The key of the sessions is missing or wrong, or the address is not safe. Dagster would
            # show a failure to make a resource as a traceback, so the step that asks for the
            # company reports it.
            self._unopened = str(error)
            yield self
            engine.dispose()
            return
        with company as intacct:
            self._intacct = intacct
            try:
                yield self
            finally:
                self._intacct = None
                engine.dispose()

    def _opened(self, engine: sa.Engine) -> Intacct:
        xml = (
            xml_access(
                self.base_url,
                each.sender_id,
                each.password,
                each.url,
                each.utc_offset,
                each.time_zone,
            )
            for each in self.xml
        )
        return open_company(
            engine,
            self.company,
            self.base_url,
            {each.entity: each.user for each in self.users},
            grant=self.grant,
            client_id=self.client_id,
            client_secret=self.client_secret,
            redirect_uri=self.redirect_uri,
            session_key="keyring" if self.session_key == "keyring" else "file",
            concurrency=self.concurrency,
            xml=next(xml, None),
            bounds=Bounds(self.request_seconds, self.response_bytes, self.clock_skew_seconds),
        )

    @property
    def intacct(self) -> Intacct:
        """The company. Only while a run holds the resource. Raises Failure without its key."""
        if self._unopened is not None:
            raise dg.Failure(self._unopened, allow_retries=False)
        if self._intacct is None:
            raise RuntimeError("IntacctResource is used outside a run")
        return self._intacct

    def entity(self, entity: str) -> IntacctClient:
        """The company as the session of `entity` sees it."""
        return self.intacct.entity(entity)


class WarehouseResource(dg.ConfigurableResource["WarehouseResource"]):
    """The DuckDB warehouse at `path`, and the state store at the URL `state`.

    With the name of the `company`, the two are held to belong together.

    When a run ends, however it does, the snapshot is published again if the run wrote anything, and
    reported as a materialization of its asset, which has `key_prefix` in its key. While other runs
    of the company are under way that happens at most every `reader_seconds` seconds; with None it
    never does.
    """

    path: str
    state: str
    company: str = ""
    lock_timeout: float = 60.0
    reader_seconds: float | None = None
    key_prefix: str = ""
    _engine: sa.Engine | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["WarehouseResource"]:
        """Opens the state store; the warehouse is opened only for the moments it is needed."""
        self._engine = open_state(self.state)
        try:
            with self._published_afterwards(context):
                yield self
        finally:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def _published_afterwards(self, context: dg.InitResourceContext) -> Iterator[None]:
        if self.reader_seconds is None or context.run is None:
            yield
            return
        names = Names(self.key_prefix)
        copy = Snapshot(self.warehouse)
        with ExitStack() as held:
            work = None
            try:
                work = held.enter_context(copy.working())
            except LockError as error:
                _warn(context, error)
            if work is None:
                yield
                return
            try:
                yield
            finally:
                try:
                    nobody_else = work.done() and not _awaited(context.instance, names)
                    done = copy.publish(unless_within=0 if nobody_else else self.reader_seconds)
                except (LockError, WarehouseError) as error:
                    _warn(context, error)
                else:
                    if done is not None and context.instance is not None:
                        context.instance.report_runless_asset_event(
                            dg.AssetMaterialization(names.snapshot, metadata=published(done))
                        )

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse; its connections are short.

        In a run, a write raises WarehouseNotPaired if the state store belongs to another one.
        """
        path = Path(self.path).resolve()
        paired = None
        if self._engine is not None and self.company:
            paired = Pairing(self._engine, self.company, path).check
        return Warehouse(path, lock_timeout=self.lock_timeout, paired=paired)

    @contextmanager
    def reading(self, company: str, entity: str, log: Callable[[str], object]) -> Iterator[None]:
        """Hold the sole right to read `entity` from Intacct and load it, over all processes.

        A run that began to read later also loads later, so that no older row replaces a newer one,
        however runs are queued and launched. If another run holds the entity, `log` is called once.
        Only while a run holds the resource. Raises LockTimeout after ENTITY_WAIT_SECONDS.
        """
        if self._engine is None:
            raise RuntimeError("WarehouseResource is used outside a run")
        name = f"reading {entity} of {company}"
        locks = state_locks(self._engine)
        with ExitStack() as held:
            try:
                held.enter_context(locks.exclusive(name, wait_seconds=0))
            except LockTimeout:
                log(f"Another run reads {entity}. This run waits until that one has loaded it.")
                held.enter_context(locks.exclusive(name, wait_seconds=ENTITY_WAIT_SECONDS))
            yield

    def api_usage(self, company: str) -> ApiUsage:
        """What `company` spent of its API transactions. Only while a run holds the resource."""
        if self._engine is None:
            raise RuntimeError("WarehouseResource is used outside a run")
        return ApiUsage(self._engine, company)

    def approvals(self, company: str) -> Approvals:
        """What people said about the plans of `company`. Only while a run holds the resource."""
        if self._engine is None:
            raise RuntimeError("WarehouseResource is used outside a run")
        return Approvals(self._engine, company)

    def plans(self, company: str) -> Plans:
        """The last plans of `company`, by their hashes. Only while a run holds the resource."""
        if self._engine is None:
            raise RuntimeError("WarehouseResource is used outside a run")
        return Plans(self._engine, company)

    def lost_postings(self, company: str) -> LostPostings:
        """What the ledger of `company` lost. Only while a run holds the resource."""
        if self._engine is None:
            raise RuntimeError("WarehouseResource is used outside a run")
        return LostPostings(self._engine, company)

    def ledger(self, company: str) -> Ledger:
        """The posting ledger of `company`. Only while a run holds the resource."""
        if self._engine is None:
            raise RuntimeError("WarehouseResource is used outside a run")
        return Ledger(self._engine, company)


def build_resources(settings: Settings) -> dict[str, dg.ResourceDefinition]:
    """Return the resources that the settings describe, under the names that the assets ask for.

    They are bound: no launch changes an address, a secret or a path.
    """
    intacct = IntacctResource(
        company=settings.company,
        base_url=settings.base_url,
        grant=settings.auth.grant,
        client_id=settings.auth.client_id,
        client_secret=_secret(settings, settings.auth.secret_variable, settings.auth.client_secret),
        redirect_uri=settings.auth.redirect_uri,
        session_key=settings.auth.session_key,
        users=[EntityUser(entity=each.id, user=each.user) for each in settings.entities],
        state=settings.state,
        concurrency=settings.limits.concurrency,
        request_seconds=settings.limits.request_seconds,
        response_bytes=settings.limits.response_bytes,
        clock_skew_seconds=settings.limits.clock_skew_seconds,
        xml=_xml_senders(settings),
    )
    warehouse = WarehouseResource(
        path=str(settings.warehouse),
        company=settings.company,
        state=settings.state,
        lock_timeout=settings.limits.lock_timeout,
        reader_seconds=settings.reader.seconds_between if settings.reader.enabled else None,
        key_prefix=settings.key_prefix,
    )
    names = Names.of(settings)
    return {
        names.intacct: bind(intacct),
        names.warehouse: bind(warehouse),
    }


#: What a step or a check may be given as its context.
_Context = dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def intacct_in(context: _Context, settings: Settings) -> IntacctResource:
    """Return the company's sessions of a step that requires them by their name."""
    found: IntacctResource = getattr(context.resources, Names.of(settings).intacct)
    return found


def warehouse_in(context: _Context, settings: Settings) -> WarehouseResource:
    """Return the company's warehouse of a step that requires it by its name."""
    found: WarehouseResource = getattr(context.resources, Names.of(settings).warehouse)
    return found


def _xml_senders(settings: Settings) -> list[XmlSender]:
    given = settings.xml
    if given is None:
        return []
    return [
        XmlSender(
            sender_id=given.sender_id,
            password=_secret(settings, given.secret_variable, given.sender_password),
            url=given.url or "",
            utc_offset=given.utc_offset,
            time_zone=given.time_zone or "",
        )
    ]


def _secret(settings: Settings, variable: str | None, secret: str) -> str:
    """Return a secret as a resource is given it: the variable, which is read when it is used.

    Only what the sandbox's own file has as a default is given as a value; the documentation prints
    it as well.
    """
    if settings.is_sandbox and not os.environ.get(variable or ""):
        return secret
    return dg.EnvVar(variable or "")
