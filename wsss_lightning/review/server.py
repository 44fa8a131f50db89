"""The web application of the review page.

Only programs that know the token in its address can use it, and only under the names of this
machine: other users of the machine and web pages in the same browser cannot.
"""

import secrets
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from wsss_lightning.errors import InputError
from wsss_lightning.review.run import DECIDED
from wsss_lightning.review.session import Session

HOSTS: Final = ("127.0.0.1", "localhost", "::1")
PAGE: Final = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "shapes.js": ("shapes.js", "text/javascript; charset=utf-8"),
    "store.js": ("store.js", "text/javascript; charset=utf-8"),
    "panel.js": ("panel.js", "text/javascript; charset=utf-8"),
}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LARGEST_BODY: Final = 4 << 20  # bytes of a decision
LONG: Final = "private, max-age=86400"  # layers do not change while the server runs
PROPOSALS: Final = 12


class NewDecision(BaseModel):
    """A decision as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    image: int
    class_name: Annotated[str, Field(alias="class", max_length=1000)] = ""
    decision: str
    detail: dict[str, Any] = {}
    since: str = ""


def create_app(session: Session, token: str) -> FastAPI:
    """The application, all of whose addresses begin with `/<token>/`.

    Args:
        session: run and decisions.
        token: secret part of the addresses.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_routes(session), prefix="/{token}")

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = refusal_of(request, token)
        response = refusal if refusal is not None else await call(request)
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    app.add_exception_handler(InputError, _answer(409))
    app.add_exception_handler(ValueError, _answer(422))
    app.add_exception_handler(RequestValidationError, _answer(422))
    app.add_exception_handler(OSError, _answer(507))
    return app


def refusal_of(request: Request, token: str) -> Response | None:
    """The answer to a request that must not be served; None if it may be.

    Args:
        request: a request.
        token: secret part of the addresses.
    """
    if _host(f"//{request.headers.get('host', '')}") not in HOSTS:
        return _error(403, "The page is served under 127.0.0.1 and localhost only.")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return _error(403, "The request comes from another web page.")
    given = request.url.path.split("/")[1]
    if not secrets.compare_digest(given.encode(), token.encode()):
        return _error(403, "The address lacks the token; open the address that the terminal shows.")
    length = request.headers.get("content-length", "0")
    if request.method == "POST" and not (length.isdigit() and 0 < int(length) <= LARGEST_BODY):
        return _error(413, f"A decision has at most {LARGEST_BODY} bytes.")
    return None


def _routes(session: Session) -> APIRouter:
    router, run = APIRouter(), session.run

    @router.get("/")
    @router.get("/{file}")
    def page(file: str = "") -> Response:
        if file not in PAGE:
            raise HTTPException(404)
        name, kind = PAGE[file]
        content = resources.files("wsss_lightning.review").joinpath("page", name).read_bytes()
        return Response(content, media_type=kind)

    @router.get("/api/run")
    def describe() -> dict[str, Any]:
        return run.describe() | {"file": str(session.log.path)}

    @router.get("/api/decisions")
    def changes(since: str = "") -> dict[str, Any]:
        return session.changes(since)

    @router.post("/api/decisions")
    def decide(new: NewDecision) -> dict[str, Any]:
        return session.decide(new.image, new.class_name, new.decision, new.detail, new.since)

    @router.get("/api/next")
    def proposals() -> list[int]:
        return session.proposals(PROPOSALS)

    @router.get("/images/{i}/{layer}")
    def layer(i: int, layer: str) -> Response:
        _check_image(session, i)
        if layer in ("photo", "thumbnail"):
            content = run.photo(i) if layer == "photo" else run.thumbnail(i)
            return Response(content, media_type="image/jpeg", headers={"Cache-Control": LONG})
        if layer == DECIDED:
            return Response(session.decided(i), media_type="image/png")
        return _png(run.mask(i, layer))

    @router.get("/images/{i}/heat/{c}")
    def heat(i: int, c: int) -> Response:
        _check_image(session, i)
        return _png(run.heat(i, c))

    return router


def _check_image(session: Session, i: int) -> None:
    if not 0 <= i < len(session.run.names):
        raise HTTPException(404)


def _png(content: bytes | None) -> Response:
    if content is None:
        raise HTTPException(404)
    return Response(content, media_type="image/png", headers={"Cache-Control": LONG})


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _answer(status: int) -> Callable[[Request, Exception], Response]:
    return lambda _, error: _error(status, str(error))


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)
