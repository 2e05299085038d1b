"""`openapi.json`: valid, complete, and what the service does.

That all answers of the service are in it, `Deployment.send` checks for the whole suite.
"""

import copy
import importlib
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from anonauth.handlers import _http
from support.contracts.openapi_contract import (
    DOCUMENT,
    JSON_TYPE,
    Schema,
    closed_validator,
    head_operations,
    require_documented,
    resolve,
    validator,
)
from support.contracts.openapi_examples import OPERATIONS, bodies, examples, provider_of
from support.project.tools import ROOT
from support.service.harness import (
    COMMON_HEADERS,
    CONFIRM,
    CONFIRM_CALL,
    CONFIRM_SEND,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    GET_KEY,
    HANDLERS,
    HOST,
    LINK,
    LIST_KEYS,
    LIST_SESSIONS,
    LOGIN,
    LOGOUT,
    MODULE,
    OPENAPI,
    PROFILE,
    REGISTER,
    RESET,
    RESET_CALL,
    RESET_SEND,
    ROUTES,
    SESSION,
    UNLINK,
    Deployment,
    Reply,
)
from support.service.linked import link, log_in_linked
from support.service.settings_documents import UNREACHABLE_PROVIDERS
from support.service.token_routes import ACCESS_ROUTES, REFRESH_ROUTES

HEADS = dict(head_operations())

BROWSER = LINK.replace("POST", "GET")


@pytest.fixture
def service(service: Deployment, sent: list[Any]) -> Deployment:
    """The service with all providers on, and mail that goes nowhere."""
    service.restart_with(UNREACHABLE_PROVIDERS, ALLOW_PRIVATE_ISSUERS="true")
    return service


def test_given_the_document_when_checked_then_it_is_openapi_3_1() -> None:
    found = [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]

    assert found == []
    assert DOCUMENT["openapi"].startswith("3.1.")


def handlers() -> Iterator[tuple[str, ModuleType]]:
    """Yield the word and the module of each function with routes."""
    for named in HANDLERS.values():
        module = importlib.import_module(named.rpartition(".")[0])
        if hasattr(module, "ROUTES"):
            yield module.__name__.rpartition(".")[2], module


def test_given_the_routes_when_listed_then_template_document_and_handlers_agree() -> (
    None
):
    routed = [route for _, module in handlers() for route in module.ROUTES]

    assert len(routed) == len(set(routed))
    assert set(routed) == set(ROUTES)
    assert set(OPERATIONS) | set(HEADS) == set(ROUTES) - {"$default"}


def test_given_an_operation_when_named_then_by_its_handler() -> None:
    words = {
        route: word if word == answers.__name__ else f"{word}_{answers.__name__}"
        for word, module in handlers()
        for route, answers in module.ROUTES.items()
        if route != "$default"
    }
    words |= {route: f"{words[route]}_head" for route in HEADS}

    told = OPERATIONS | HEADS
    assert {route: op["operationId"] for route, op in told.items()} == words


def test_given_a_head_when_documented_then_it_has_a_get_and_no_body() -> None:
    assert {route.replace("HEAD", "GET") for route in HEADS} == {
        route
        for route, op in OPERATIONS.items()
        if route.startswith("GET ") and op["tags"] == ["Discovery"]
    }
    for operation in HEADS.values():
        assert set(operation["responses"]) == {"200", "default"}
        for response in operation["responses"].values():
            assert "content" not in resolve(response)


def test_given_an_operation_when_read_then_its_parameters_are_those_of_its_path() -> (
    None
):
    for route, operation in OPERATIONS.items():
        in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        assert sorted(in_path) == sorted(
            part[1:-1] for part in route.split("/") if part.startswith("{")
        )


def test_given_an_operation_when_read_then_its_token_is_the_one_that_it_takes() -> None:
    """Which they are, `test_refusals` shows for both kinds."""
    told: dict[str, set[str]] = {"accessToken": set(), "refreshToken": set()}
    for route, operation in OPERATIONS.items():
        for requirement in operation["security"]:
            for scheme in requirement:
                told[scheme].add(route)

    assert told == {
        "accessToken": set(ACCESS_ROUTES),
        "refreshToken": set(REFRESH_ROUTES),
    }
    assert set(DOCUMENT["components"]["securitySchemes"]) == set(told)


def error_codes(response: Schema) -> Iterator[str]:
    schema = response["content"].get(JSON_TYPE, {}).get("schema", {})
    for kind in schema.get("anyOf", [schema]):
        if kind.get("$ref") == "#/components/schemas/Error":
            yield from kind["properties"]["error_code"]["enum"]


def test_given_the_errors_when_listed_then_document_and_service_agree() -> None:
    unrouted = DOCUMENT["components"]["responses"]["NoSuchEndpoint"]
    told = {
        (int(status), code)
        for operation in OPERATIONS.values()
        for status, response in operation["responses"].items()
        for code in error_codes(resolve(response))
    } | {(404, code) for code in error_codes(unrouted)}
    error = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error_code"]

    uttered = {(status, error.code) for error, status in _http.STATUS.items()}

    assert told == uttered
    assert set(error["enum"]) == {code for _, code in told}


def test_given_each_route_when_called_then_what_it_answers_is_documented(
    service: Deployment, sent: list[Any]
) -> None:
    """`Deployment.send` compares. Here each operation has its success, if it can."""
    succeeded = set()

    def send(route: str, **options: Any) -> Reply:
        reply = service.send(route, **options)
        if reply.status == 200:
            succeeded.add(route)
        return reply

    def post(route: str, body: Any, **options: Any) -> Reply:
        return send(route, body=json.dumps(body), **options)

    for route in OPERATIONS:
        if route.startswith("GET /api/client/v2.0/app") or route in {OPENAPI, MODULE}:
            send(route, parameters={"provider": "x"} if route == BROWSER else None)
    account = {"email": "ada@example.com", "password": "correct horse"}

    def mailed() -> dict[str, str]:
        link = sent[-1].body.partition("?")[2].split()[0]
        return dict(pair.split("=") for pair in link.split("&"))

    post(REGISTER, account)
    post(CONFIRM_SEND, account)
    post(CONFIRM, mailed())
    post(CONFIRM_CALL, account)
    post(RESET_CALL, account)
    guest = send(LOGIN).json
    linked = post(
        LINK,
        {"username": account["email"], "password": account["password"]},
        parameters={"provider": "local-userpass"},
        query={"link": "true"},
        token=guest["access_token"],
    ).json
    post(RESET_SEND, account)
    post(RESET, {**mailed(), "password": "battery staple"})
    session = post(
        LINK,
        {"username": account["email"], "password": "battery staple"},
        parameters={"provider": "local-userpass"},
    ).json
    access, refresh = session["access_token"], session["refresh_token"]
    send(SESSION, token=refresh)
    send(PROFILE, token=access)
    key = post(CREATE_KEY, {"name": "ci"}, token=refresh).json
    send(LIST_KEYS, token=refresh)
    for route in (GET_KEY, DISABLE_KEY, ENABLE_KEY):
        send(route, token=refresh, parameters={"id": key["_id"]})
    by_key = post(LINK, {"key": key["key"]}, parameters={"provider": "api-key"}).json
    send(PROFILE, token=by_key["access_token"])
    send(DELETE_KEY, token=refresh, parameters={"id": key["_id"]})
    link(service, session, "custom-token", "ada")
    unlinked = {"provider": "custom-token", "id": "ada"}
    send(UNLINK, token=refresh, query=unlinked)
    (own,) = send(LIST_SESSIONS, token=refresh).json
    again = post(
        LINK,
        {"username": account["email"], "password": "battery staple"},
        parameters={"provider": "local-userpass"},
    ).json["refresh_token"]
    send(END_SESSION, token=again, parameters={"id": own["id"]})
    refresh = again
    send(LOGOUT, token=refresh)
    send(DELETE, token=send(LOGIN).json["access_token"])

    assert linked["user_id"] == session["user_id"]
    assert succeeded == {
        route for route, op in OPERATIONS.items() if "200" in op["responses"]
    }


SUCCESS = '{"access_token":"a.b.c"}'
REFUSAL = json.dumps(
    {
        "error": "invalid session",
        "error_code": "InvalidSession",
        "link": f"https://{HOST}/logs?co_id={'0' * 32}",
    }
)


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        pytest.param(201, {}, SUCCESS, id="another status"),
        pytest.param(200, {"content-type": "text/plain"}, SUCCESS, id="type"),
        pytest.param(
            200,
            {"content-type": "application/json; charset=utf-8"},
            SUCCESS,
            id="type with a parameter",
        ),
        pytest.param(200, {"retry-after": "2"}, SUCCESS, id="a retry after a success"),
        pytest.param(200, {}, "{}", id="a field is missing"),
        pytest.param(200, {}, '{"access_token":1}', id="a field has another type"),
        pytest.param(
            200, {}, '{"access_token":"a.b.c","more":1}', id="a field that is not known"
        ),
        pytest.param(400, {}, REFUSAL, id="refused with the gateway's status"),
        pytest.param(404, {}, REFUSAL, id="code of another status"),
        pytest.param(503, {}, REFUSAL, id="no retry after trouble"),
        pytest.param(401, {}, REFUSAL, id="a 401 that names no scheme"),
        pytest.param(
            401, {"www-authenticate": "Basic"}, REFUSAL, id="a 401 of another scheme"
        ),
        pytest.param(
            200, {"www-authenticate": "Bearer"}, SUCCESS, id="a scheme after a success"
        ),
        pytest.param(
            200, {"x-content-type-options": "none"}, SUCCESS, id="types to be guessed"
        ),
    ],
)
def test_given_an_answer_that_is_not_documented_when_checked_then_it_fails(
    status: int, headers: dict[str, str], text: str
) -> None:
    good = {"content-type": "application/json", "x-content-type-options": "nosniff"}
    challenge = {"www-authenticate": "Bearer"}
    require_documented(SESSION, 200, good, SUCCESS)
    require_documented(SESSION, 401, good | challenge, REFUSAL)

    with pytest.raises(AssertionError):
        require_documented(SESSION, status, good | headers, text)


def test_given_an_example_when_checked_then_it_is_what_its_schema_says() -> None:
    for route, operation in OPERATIONS.items():
        shown = [
            (media["schema"], value, True)
            for response in map(resolve, operation["responses"].values())
            for media in response["content"].values()
            for value in examples(media).values()
        ]
        assert len(shown) >= len(operation["responses"]), route
        if "requestBody" in operation:
            media = operation["requestBody"]["content"][JSON_TYPE]
            shown += [(media["schema"], v, False) for v in examples(media).values()]
            assert not shown[-1][2], route
        shown += [(p["schema"], p["example"], False) for p in operation["parameters"]]
        for schema, value, is_answer in shown:
            checks = closed_validator(schema) if is_answer else validator(schema)
            told = [error.message for error in checks.iter_errors(value)]
            assert told == [], (route, value)


SHOWN_GUEST = bodies(OPERATIONS[LINK])["local-userpass-merge"]["merge"]


class Client:
    """Sends bodies to an operation, with what else it needs."""

    def __init__(self, service: Deployment) -> None:
        self._service = service
        self._linked = log_in_linked(service)
        self._guest = service.log_in()

    def refuses(self, route: str, body: str | None, example: str = "") -> bool:
        """Tell whether the form of a body is refused."""
        takes_refresh_token = route in REFRESH_ROUTES
        # It is checked before the credential, so a guest of this service is needed.
        body = body and body.replace(SHOWN_GUEST, self._guest["refresh_token"])
        reply = self._service.send(
            route,
            body=body,
            token=self._linked["refresh_token"] if takes_refresh_token else None,
            parameters={"provider": provider_of(example)} if route == LINK else None,
            # Refused when the body has been read: to make users would take a second.
            query={"link": "true"} if route == LOGIN else None,
        )
        code, error = reply.json.get("error_code"), reply.json.get("error")
        # Whatever else it says, it has come to look at what the body means.
        assert code not in {"AppNotFound", "AuthProviderNotFound", "InvalidSession"}
        if error == "'merge' is not a valid refresh token":
            return False  # no schema can say which tokens this service has signed
        return reply.status == 400 and code in {"BadRequest", "InvalidParameter"}


# Those that can succeed: the others refuse any body.
EXAMPLES = [
    pytest.param(route, name, body, id=f"{operation['operationId']} {name}".strip())
    for route, operation in OPERATIONS.items()
    if "200" in operation["responses"]
    for name, body in bodies(operation).items()
]


@pytest.mark.parametrize(("route", "name", "body"), EXAMPLES)
def test_given_an_example_when_sent_then_its_form_is_taken(
    service: Deployment, route: str, name: str, body: Any
) -> None:
    assert not Client(service).refuses(route, json.dumps(body), name)


# Around every limit of every field, and of every type. Not among them: an address whose
# domain has letters beyond ASCII, which is taken although the document's pattern does
# not say so.
VALUES: list[Any] = [
    None,
    True,
    5,
    [],
    {},
    {"$oid": None},
    {"$oid": 5},
    {"$oid": "6923a1f0c4d5e6f708192a3b"},
    {"$oid": "a\0b"},
    {"unknown": [1, {"nested": None}]},
    "",
    "a",
    "e\u0301\u2603\U0001f600",
    "a\0b",
    "a b",
    "grace@example.com",
    "grace@example",
    "gr\u00e4ce@example.com",
    *("a" * n for n in (5, 6, 23, 24, 64, 65, 128, 129, 256, 257)),
    *("a" * n for n in (4096, 4097, 8192, 8193)),
]


def fields(body: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field in a body."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield (*path, name)
            yield from fields(value, (*path, name))


def changed(body: Any, path: tuple[str, ...], *value: Any) -> Any:
    """Return a body with another value in a field, or without it."""
    copied = copy.deepcopy(body)
    parent = copied
    for name in path[:-1]:
        parent = parent[name]
    del parent[path[-1]]
    if value:
        (parent[path[-1]],) = value
    return copied


@pytest.mark.parametrize(("route", "name", "body"), EXAMPLES)
def test_given_a_body_when_a_field_is_changed_then_document_and_service_agree(
    service: Deployment, route: str, name: str, body: Any
) -> None:
    client = Client(service)
    media = OPERATIONS[route]["requestBody"]["content"][JSON_TYPE]
    checks = validator(media["schema"])
    changes = [
        changed(body, path, *value)
        for path in fields(body)
        for value in [(), *((each,) for each in VALUES)]
    ]
    changes += [{**body, "unknown": value} for value in VALUES]

    for sent in changes:
        refused = client.refuses(route, json.dumps(sent), name)
        assert refused != checks.is_valid(sent), sent


def test_given_no_body_when_sent_then_it_is_missed_where_it_is_required(
    service: Deployment,
) -> None:
    client = Client(service)
    for route, operation in OPERATIONS.items():
        if "200" in operation["responses"] and "requestBody" in operation:
            required = operation["requestBody"]["required"]
            assert client.refuses(route, None, "api-key") == required


@pytest.mark.parametrize("name", ["provider", "id", "key"])
@pytest.mark.parametrize("value", [None, "", "a", "a" * 2048, "a" * 2049, "api-key"])
def test_given_a_query_when_unlinking_then_document_and_service_agree(
    service: Deployment, name: str, value: str | None
) -> None:
    (parameter,) = (p for p in OPERATIONS[UNLINK]["parameters"] if p["name"] == name)
    query = {"provider": "custom-token", "id": "nobody", name: value}
    token = log_in_linked(service)["refresh_token"]

    reply = service.send(
        UNLINK, token=token, query={k: v for k, v in query.items() if v is not None}
    )

    is_valid = (
        not parameter.get("required", False)
        if value is None
        else validator(parameter["schema"]).is_valid(value)
    )
    assert reply.status == (404 if is_valid else 400)


def test_given_the_module_when_counted_then_it_is_short_enough_to_be_read() -> None:
    lines = (ROOT / "functions/anonauth/anonauth.mjs").read_text().splitlines()

    assert len(lines) <= 150
    assert max(map(len, lines)) <= 102


KNOWN = [
    pytest.param("", 200, id="no tag"),
    pytest.param('"0123"', 200, id="an older version"),
    pytest.param("{tag}", 304, id="this version"),
    pytest.param("W/{tag}", 304, id="marked as weak by a cache"),
    pytest.param('"0123" , {tag}', 304, id="both"),
    pytest.param("*", 304, id="any version"),
]


@pytest.mark.parametrize(("known", "status"), KNOWN)
def test_given_a_version_when_asked_for_the_module_then_only_a_new_one_is_sent(
    service: Deployment, known: str, status: int
) -> None:
    tag = service.send(MODULE).headers["etag"]

    reply = service.send(
        MODULE, headers={"if-none-match": known.format(tag=tag)} if known else {}
    )

    text = (ROOT / "functions/anonauth/anonauth.mjs").read_text()
    assert (reply.status, reply.text) == (status, text if status == 200 else "")
    assert reply.headers == {
        **COMMON_HEADERS,
        "cache-control": "public, max-age=3600",
        "content-type": "text/javascript",
        "etag": tag,
        "vary": "origin",
    }


def test_given_the_service_when_asked_for_the_document_then_it_has_its_address(
    service: Deployment,
) -> None:
    reply = service.send(OPENAPI)
    service.restart(BASE_URL="https://auth.example.com")
    moved = service.send(OPENAPI).json

    assert reply.status == 200
    assert reply.headers == {
        **COMMON_HEADERS,
        "cache-control": "public, max-age=300",
        "vary": "origin",
    }
    assert reply.json == {**DOCUMENT, "servers": [{"url": f"https://{HOST}"}]}
    assert moved["servers"] == [{"url": "https://auth.example.com"}]
