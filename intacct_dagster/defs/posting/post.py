"""Posting: what is missing in Intacct is sent in chunks, and checks report what became of it."""

from collections.abc import Iterator

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.partitions import entity_days, tell_partitions
from intacct_dagster.defs.posting.collect import check_postings, checks_of, collect_outcomes
from intacct_dagster.defs.posting.feed_run import FeedRun
from intacct_dagster.defs.posting.send import (
    approve_plan,
    log_already_there,
    send_plan,
    sent_metadata,
)
from intacct_dagster.defs.tables import relation, table_rows
from intacct_dagster.naming import Names

GROUP = "posted"


class Approval(dg.Config):
    """A person's approval of the plan of the run's partitions: its hash, from plan/<feed>."""

    approve: str = ""


def posting_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that posts a feed: one op sends the plan, one collects the outcomes.

    A day with rejected documents still materializes; its checks report what was rejected and why.
    """
    names = Names.of(settings)
    key = names.posted(name)
    partitions = entity_days(settings)
    checks = checks_of(feed)
    post = _post_op(settings, name, feed)
    collect = _collect_op(settings, name, feed)

    @dg.graph_asset(
        key=key,
        ins={"plan": dg.AssetIn(key=names.plan(name), dagster_type=dg.Nothing)},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=names.group(GROUP),
        kinds={"intacct", "duckdb"},
        description=(
            f"`{name}` in Intacct's `{feed.object}`: what the plan says is posted in chunks of at "
            f"most {settings.limits.chunk_size}, each document once. The table has a row for each "
            "document, with its key in Intacct or the reason why it was rejected."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(check, asset=key, description=description, partitions_def=partitions)
            for check, description in checks.items()
        ],
    )
    def posted(plan: None) -> dict[str, object]:
        outputs = collect(post(plan))
        graph = key.to_python_identifier()
        return {
            "result": outputs.result,
            **{f"{graph}_{check}": getattr(outputs, check) for check in checks},
        }

    return posted


def _post_op(settings: Settings, name: str, feed: Feed) -> dg.OpDefinition:
    """Build the op that sends the plan. It returns the entities that something was sent to."""
    names = Names.of(settings)

    @dg.op(
        name=names.post_op(name),
        ins={"plan": dg.In(dg.Nothing)},
        pool=names.pool,
        required_resource_keys={names.intacct, names.warehouse},
        # Only requests that certainly never arrived raise an error that is retried, so that
        # sending them again cannot post anything twice.
        retry_policy=dg.RetryPolicy(
            max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
        ),
        description=(
            "Resolves what was left unanswered, then writes the plan's documents to the ledger "
            f"and sends them in chunks, {settings.limits.concurrency} at a time. The answers are "
            "stored by position, and what was posted is read back meanwhile."
        ),
    )
    def post(context: dg.OpExecutionContext, config: Approval) -> list[str]:
        if not settings.posting.enabled:
            context.log.info("posting.enabled is false in intacct.yaml: a dry run, nothing is sent")
            return []
        run = FeedRun.of(context, settings, name, feed)
        if config.approve:
            as_dagster_failure(settings, approve_plan, run, config.approve)
        done = as_dagster_failure(settings, send_plan, run)
        log_already_there(context.log, done)
        sent = [(entity, chunk) for entity, parts in done for each in parts for chunk in each.sent]
        context.add_output_metadata(sent_metadata(sent))
        return sorted({entity for entity, _ in sent})

    return post


def _collect_op(settings: Settings, name: str, feed: Feed) -> dg.OpDefinition:
    """Build the op that stores the outcomes and evaluates the checks."""
    names = Names.of(settings)
    key = names.posted(name)

    @dg.op(
        name=names.collect_op(name),
        out={"result": dg.Out(dg.Nothing), **{check: dg.Out() for check in checks_of(feed)}},
        description="Stores what became of the documents, and checks every partition.",
        pool=names.pool,
        required_resource_keys={names.intacct, names.warehouse},
    )
    def collect(
        context: dg.AssetExecutionContext,
        posted_to: list[str],
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        run = FeedRun.of(context, settings, name, feed)
        collected = as_dagster_failure(settings, collect_outcomes, run, posted_to)
        tell_partitions(context, key, collected.metadata())
        # The asset's output comes first, so that the checks refer to this materialization.
        yield dg.Output(
            None,
            "result",
            metadata={
                "documents": collected.together.documents,
                **table_rows(settings, run.resource, [key])[key],
            },
        )
        yield from check_postings(context, key, run, collected)

    return collect
