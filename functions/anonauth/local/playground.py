"""The playground: the static files of one page, and who may show them."""

from collections.abc import Mapping
from http import HTTPStatus
from importlib import resources

from anonauth.local.api_gateway import HttpRequest, HttpResponse

PAGE_PATH = "/"

PAGE_FILES: Mapping[str, tuple[str, str]] = {
    PAGE_PATH: ("index.html", "text/html; charset=utf-8"),
    # Beside what else is local, so that they cannot clash with a route of the API.
    "/_local/playground.css": ("playground.css", "text/css; charset=utf-8"),
    "/_local/playground.js": ("playground.js", "text/javascript; charset=utf-8"),
    "/_local/playground.svg": ("playground.svg", "image/svg+xml"),
}
"""Name and type of the file behind each path: nothing is looked up by what is asked."""

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
    # Pages elsewhere get neither the files nor the window.
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    # The next start may be of another version, on the same port.
    ("cache-control", "no-store"),
)


def is_page_request(request: HttpRequest) -> bool:
    """Say whether a request is for the page; all else at `/` is the API's to answer."""
    return request.path == PAGE_PATH and request.method in PAGE_METHODS


def file_response(path: str) -> HttpResponse:
    """Return the file behind one of the paths of `PAGE_FILES`."""
    name, content_type = PAGE_FILES[path]
    body = (resources.files("anonauth.local") / "page" / name).read_bytes()
    return HttpResponse(
        HTTPStatus.OK, (("content-type", content_type), *_SECURITY_HEADERS), body
    )
