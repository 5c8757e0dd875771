"""A Sage Intacct company to develop and test against, over real HTTP.

It speaks the part of the REST API that the catalogue names, on books generated from a seed. It
shares no code with the client: two readings of one API keep each other honest.
"""

from __future__ import annotations

from .app import BASE_PATH, create_app
from .behaviours import Behaviour, Behaviours, all_behaviours, read_choices
from .books import Books
from .clock import DAYS, LAST_DAY, Clock
from .company import CLIENT_ID, CLIENT_SECRET, COMPANY, SENDER_ID, SENDER_PASSWORD
from .errors import SandboxError
from .parity import render as parity_page
from .parity import replay_directory
from .sales_feed import EntityFacts, SalesFeedFacts, write_sales_feed
from .server import RunningSandbox, run, serve
from .size import LARGE, Size

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
    "parity_page",
    "read_choices",
    "replay_directory",
    "run",
    "serve",
    "write_sales_feed",
]
