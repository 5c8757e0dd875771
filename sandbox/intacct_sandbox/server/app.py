"""The ASGI application: every service's routes, on one set of books."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from intacct_sandbox.api.composite import urls as composite
from intacct_sandbox.api.control import urls as control
from intacct_sandbox.api.events import urls as events
from intacct_sandbox.api.export import urls as export
from intacct_sandbox.api.gateway import BASE_PATH, Gateway
from intacct_sandbox.api.jobs import progress
from intacct_sandbox.api.jobs import urls as jobs
from intacct_sandbox.api.model import urls as model
from intacct_sandbox.api.oauth import urls as oauth
from intacct_sandbox.api.objects import urls as objects
from intacct_sandbox.api.query import urls as query
from intacct_sandbox.api.services import urls as services
from intacct_sandbox.api.views import urls as views
from intacct_sandbox.api.workflows import urls as workflows
from intacct_sandbox.api.xml import urls as xml
from intacct_sandbox.domain.books import Books

__all__ = ["BASE_PATH", "create_app"]

# `objects` takes any name of an object: services below /objects/ come before it.
_SERVICES = (
    *(oauth, query, model, services, workflows, composite, export, jobs, events, views, xml),
    *(objects, control),
)


def create_app(books: Books) -> Starlette:
    """Return the sandbox as an ASGI application over these books.

    `app.state.gateway` is its gateway.
    """
    gateway = Gateway(books)
    progress.recall(gateway)
    gateway.before_each = lambda: progress.go_on(gateway)
    app = Starlette(
        routes=[route for service in _SERVICES for route in service.routes(gateway)],
        exception_handlers={HTTPException: gateway.no_route},
    )
    # A path with a slash too many is the same path or another one, as the behaviour says; nobody
    # is redirected.
    app.router.redirect_slashes = False
    app.add_middleware(gateway.tidy)
    app.state.gateway = gateway
    return app
