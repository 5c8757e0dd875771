"""The routes of the sandbox."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from intacct_sandbox.api.batches import kept
from intacct_sandbox.api.composite import responses as composite
from intacct_sandbox.api.control import responses as control_routes
from intacct_sandbox.api.export import responses as export
from intacct_sandbox.api.gateway import BASE_PATH, XML, FrontDoor
from intacct_sandbox.api.jobs import responses as jobs
from intacct_sandbox.api.jobs.responses import deferrable
from intacct_sandbox.api.oauth import responses as oauth_routes
from intacct_sandbox.api.objects import responses as object_routes
from intacct_sandbox.api.services import responses as service_routes
from intacct_sandbox.api.workflows import responses as workflows
from intacct_sandbox.api.xml import responses as xml_gateway
from intacct_sandbox.domain.books import Books

__all__ = ["BASE_PATH", "create_app"]

_OBJECT = "/objects/{application}/{object}"
_ALL = ["GET", "POST", "PATCH", "DELETE", "OPTIONS"]


def create_app(books: Books) -> Starlette:
    """The sandbox as an ASGI application over these books; `app.state.door` is its front door."""
    door = FrontDoor(books)
    jobs.recall(door)
    door.before_each = lambda: jobs.go_on(door)
    route, control = door.route, door.control_route
    app = Starlette(
        routes=[
            route("/oauth2/token", "token", oauth_routes.token, ["POST"]),
            route("/oauth2/revoke", "revoke", oauth_routes.revoke, ["POST"]),
            route("/oauth2/introspect", "introspect", oauth_routes.introspect, ["POST"]),
            route("/oauth2/authorize", "authorize", oauth_routes.authorize, ["GET", "POST"]),
            route("/services/core/query", "query", deferrable(service_routes.ask_query), ["POST"]),
            route("/services/core/model", "model", service_routes.ask_model, ["GET"]),
            route("/services/core/session/id", "session", service_routes.session_id, ["GET"]),
            route(
                "/services/company-config/dimensions/list",
                "dimensions",
                service_routes.list_dimensions,
                ["GET"],
            ),
            route(
                "/services/core/allowed-operations/list",
                "allowed-operations",
                service_routes.allowed_operations,
                ["POST"],
            ),
            route(
                "/workflows/{application}/{object}/{action}",
                "workflow",
                deferrable(workflows.act),
                ["POST"],
            ),
            route(
                "/services/core/composite",
                "composite",
                deferrable(kept(composite.ask_composite)),
                ["POST"],
            ),
            route("/services/core/export", "export", deferrable(export.ask_export), ["POST"]),
            route("/services/core/async/job-status", "async", jobs.async_status, ["GET"]),
            route("/services/bulk/job/create", "bulk", kept(jobs.create_bulk), ["POST"]),
            route("/services/bulk/job/status", "bulk", jobs.bulk_status, ["GET"]),
            route("/services/delivery/event/count", "events", service_routes.count_events, ["GET"]),
            route("/services/delivery/event/list", "events", service_routes.list_events, ["GET"]),
            route("/services/delivery/event/ack", "events", service_routes.acknowledge, ["POST"]),
            route("/services/core/view", "view", deferrable(service_routes.ask_view), ["POST"]),
            route("/objects/core/system-view", "view", service_routes.system_views, ["GET"]),
            route(
                xml_gateway.PATH,
                XML,
                xml_gateway.serve_xml,
                ["POST"],
                base="",
                shaped=xml_gateway.as_xml,
            ),
            route(_OBJECT, "objects", deferrable(object_routes.collection), _ALL),
            route(f"{_OBJECT}/{{keys}}", "objects", deferrable(object_routes.member), _ALL),
            control("/health", control_routes.health, ["GET"]),
            control("/openapi.json", control_routes.openapi_document, ["GET"]),
            control("/books", control_routes.written, ["GET"]),
            control("/records", control_routes.records, ["GET"]),
            control("/requests", control_routes.requests, ["GET"]),
            control("/journal", control_routes.journal, ["GET"]),
            control("/clock", control_routes.clock, ["GET", "POST"]),
            control("/faults", control_routes.faults, ["GET", "PUT", "POST", "DELETE"]),
            control("/behaviours", control_routes.behaviours, ["GET", "POST"]),
            control("/limits", control_routes.limits, ["GET", "POST"]),
            control("/webhooks", control_routes.webhooks, ["GET", "POST"]),
            control("/reset", control_routes.reset, ["POST"]),
            control("/snapshots", control_routes.snapshots, ["GET", "POST"]),
            control("/restore", control_routes.restore, ["POST"]),
        ],
        exception_handlers={HTTPException: door.no_route},
    )
    # A path with a slash too many is the same path or another one, as the behaviour says; nobody
    # is sent elsewhere.
    app.router.redirect_slashes = False
    app.add_middleware(door.tidy)
    app.state.door = door
    return app
