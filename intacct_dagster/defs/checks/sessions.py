"""The check of sessions that only a person can renew; it names the command."""

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.resources import intacct_in
from intacct_dagster.naming import Names

SESSIONS_ALIVE = "sessions_alive"


def sessions_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Build the check that fails where the user of an entity has to consent (again).

    It asks nothing of Intacct. A session that has ended stops only the runs of its own entity.
    """
    names = Names.of(settings)

    @dg.asset_check(
        asset=names.sage_intacct,
        name=SESSIONS_ALIVE,
        description="Every entity has a session that its runs can renew by themselves.",
        required_resource_keys={names.intacct},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        intacct = intacct_in(context, settings)
        gone = [
            each
            for each in intacct.intacct.stored_sessions()
            if each.entity in settings.users and each.state in ("missing", "ended")
        ]
        if not gone:
            return dg.AssetCheckResult(
                passed=True, description=f"All {len(settings.users)} entities have a session."
            )
        commands = " ".join(sorted(str(each.entity) for each in gone))
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            description=(
                f"{len(gone)} of {len(settings.users)} entities need a person: "
                f"run `intacct-dagster authorize {commands}`. The others go on."
            ),
            metadata={
                "sessions": dg.MetadataValue.table(
                    [
                        dg.TableRecord(
                            {
                                "entity": str(each.entity),
                                "user": each.user,
                                "state": each.state,
                                "intacct_said": each.why or "",
                                "what_to_do": f"intacct-dagster authorize {each.entity}",
                            }
                        )
                        for each in gone
                    ]
                )
            },
        )

    return check
