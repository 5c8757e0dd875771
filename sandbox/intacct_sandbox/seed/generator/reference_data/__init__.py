"""What the rest refers to: terms, types, contacts, currencies, periods, projects, items, banks.

All of it is shared by the entities. Nothing here changes a record that was written before, but for
the custom fields and the grants of some of them.
"""

from __future__ import annotations

from random import Random

from intacct_sandbox.seed.generator.masters import Masters
from intacct_sandbox.seed.generator.writer import Writer

from .banks import write_banks, write_receipt_batches
from .contacts import write_contacts
from .custom_values import write_custom_values
from .lists import write_lists
from .periods_and_budgets import write_periods_and_budgets
from .projects import write_items_and_projects
from .rights import write_rights_and_attachments
from .shared_records import SharedRecords


def write_reference_data(writer: Writer, random: Random, masters: Masters) -> None:
    """Write everything that transactions and masters refer to."""
    shared = SharedRecords(writer, random)
    write_lists(shared, masters)
    write_contacts(shared)
    write_periods_and_budgets(shared, masters)
    write_rights_and_attachments(shared)
    write_banks(shared, masters)
    write_receipt_batches(shared, masters)
    write_items_and_projects(shared, masters)
    write_custom_values(writer, random)
