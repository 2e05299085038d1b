"""The playground: the static files of its page, and their security headers."""

from collections.abc import Mapping
from http import HTTPStatus
from importlib import resources

from anonauth.local.api_gateway import HttpRequest, HttpResponse

PAGE_PATH = "/"

PAGE_FILES: Mapping[str, tuple[str, str]] = {
    PAGE_PATH: ("index.html", "text/html; charset=utf-8"),
    # Under the local prefix, so that they cannot clash with a route of the API.
    "/_local/playground.css": ("playground.css", "text/css; charset=utf-8"),
    **{
        f"/_local/{name}": (name, "text/javascript; charset=utf-8")
        for name in ("playground.js", "page.js", "calls.js", "device.js", "news.js")
    },
    "/_local/playground.svg": ("playground.svg", "image/svg+xml"),
}
"""Name and content type of the file at each path. No request can name another file."""

PAGE_METHODS = ("GET", "HEAD")

_CONTENT_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

_SECURITY_HEADERS = (
    ("content-security-policy", _CONTENT_POLICY),
    ("x-content-type-options", "nosniff"),
    # Pages of other sites can use neither the files nor the window.
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    # The next start may serve another version on the same port.
    ("cache-control", "no-store"),
)


def is_page_request(request: HttpRequest) -> bool:
    """Return whether a request is for the page. Other methods at `/` go to the API."""
    return request.path == PAGE_PATH and request.method in PAGE_METHODS


def file_response(path: str) -> HttpResponse:
    """Return the file at one of the paths in `PAGE_FILES`."""
    name, content_type = PAGE_FILES[path]
    body = (resources.files("anonauth.local") / "page" / name).read_bytes()
    return HttpResponse(
        HTTPStatus.OK, (("content-type", content_type), *_SECURITY_HEADERS), body
    )
