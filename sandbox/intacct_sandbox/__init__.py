"""A Sage Intacct company to develop and test against, over real HTTP.

It speaks the part of the REST API that the catalogue names, on books generated from a seed. It
shares no code with the client: two readings of one API keep each other honest.
"""

from __future__ import annotations

from .company import CLIENT_ID, CLIENT_SECRET, COMPANY, SENDER_ID, SENDER_PASSWORD
from .control.behaviours import Behaviour, Behaviours, all_behaviours, read_choices
from .control.clock import DAYS, LAST_DAY, Clock
from .domain.books import Books
from .errors import SandboxError
from .seed.sales_feed import EntityFacts, SalesFeedFacts, write_sales_feed
from .seed.size import LARGE, Size
from .server.app import BASE_PATH, create_app
from .server.serving import RunningSandbox, run, serve
from .tools.parity import replay_directory

__all__ = [
    "BASE_PATH",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "COMPANY",
    "DAYS",
    "LARGE",
    "LAST_DAY",
    "SENDER_ID",
    "SENDER_PASSWORD",
    "Behaviour",
    "Behaviours",
    "Books",
    "Clock",
    "EntityFacts",
    "RunningSandbox",
    "SalesFeedFacts",
    "SandboxError",
    "Size",
    "all_behaviours",
    "create_app",
    "read_choices",
    "replay_directory",
    "run",
    "serve",
    "write_sales_feed",
]
