"""The routes of the sandbox."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from . import control_routes, oauth_routes, object_routes, service_routes, workflows
from .books import Books
from .front_door import FrontDoor, Handler

BASE_PATH = "/ia/api/v1"
"""Where Intacct's API begins."""

_OBJECT = f"{BASE_PATH}/objects/{{application}}/{{object}}"
_ALL = ["GET", "POST", "PATCH", "DELETE", "OPTIONS"]


def create_app(books: Books) -> Starlette:
    """The sandbox as an ASGI application over these books."""
    door = FrontDoor(books)

    def route(path: str, kind: str, handler: Handler, methods: list[str]) -> Route:
        return Route(path, door.endpoint(kind, handler), methods=methods)

    app = Starlette(
        routes=[
            route(f"{BASE_PATH}/oauth2/token", "token", oauth_routes.token, ["POST"]),
            route(f"{BASE_PATH}/oauth2/revoke", "revoke", oauth_routes.revoke, ["POST"]),
            route(
                f"{BASE_PATH}/oauth2/authorize",
                "authorize",
                oauth_routes.authorize,
                ["GET", "POST"],
            ),
            route(f"{BASE_PATH}/services/core/query", "query", service_routes.ask_query, ["POST"]),
            route(f"{BASE_PATH}/services/core/model", "model", service_routes.ask_model, ["GET"]),
            route(
                f"{BASE_PATH}/services/core/session/id",
                "session",
                service_routes.session_id,
                ["GET"],
            ),
            route(
                f"{BASE_PATH}/services/company-config/dimensions/list",
                "dimensions",
                service_routes.list_dimensions,
                ["GET"],
            ),
            route(
                f"{BASE_PATH}/services/core/allowed-operations/list",
                "allowed-operations",
                service_routes.allowed_operations,
                ["POST"],
            ),
            route(
                f"{BASE_PATH}/workflows/{{application}}/{{object}}/{{action}}",
                "workflow",
                workflows.act,
                ["POST"],
            ),
            route(_OBJECT, "objects", object_routes.collection, _ALL),
            route(f"{_OBJECT}/{{keys}}", "objects", object_routes.member, _ALL),
            route("/_sandbox/health", "control", control_routes.health, ["GET"]),
            route("/_sandbox/books", "control", control_routes.written, ["GET"]),
            route("/_sandbox/requests", "control", control_routes.requests, ["GET"]),
        ],
        exception_handlers={HTTPException: door.no_route},
    )
    # A path with a slash too many is another path, and gets its answer in the envelope.
    app.router.redirect_slashes = False
    return app
