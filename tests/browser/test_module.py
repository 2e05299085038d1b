"""`anonauth.mjs` in real Chromium, loaded by a page of another origin."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from anonauth.local.server import LocalServer
from support.project.pages import block
from support.service.calls import API, APP, call

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

PAGE = """<!doctype html><title>app</title><script type="module">
    import {{ anonauth }} from "{url}/anonauth.mjs";
    window.users = [];
    window.make = (settings) => anonauth({{ app: "{app}", ...settings }});
    window.auth = make();
    auth.onchange = (user) => users.push(user);
    window.failure = (promise) => promise.then(() => null,
        ({{ message, status, retryAfter }}) => ({{ message, status, retryAfter }}));
</script>"""

LOGIN = "**/anon-user/login"
SESSION = "**/auth/session"
ADA = {"username": "ada@example.com", "password": "correct horse"}


@contextmanager
def served_page(server: LocalServer, text: str = PAGE) -> Iterator[str]:
    """Yield the address of the app's page, which is another origin than the service.

    The browser itself cannot be told the page: Chromium lets only pages from this
    machine call this machine.
    """
    html = text.format(url=server.base_url, app=APP).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as app:
        thread = threading.Thread(target=app.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{app.server_address[1]}/"
        app.shutdown()
        thread.join()


class Tabs:
    """A browser's tabs of an app. Their requests to the service are counted."""

    def __init__(
        self, context: "BrowserContext", server: LocalServer, url: str
    ) -> None:
        self.context = context
        self.server = server
        self.url = url
        self.asked: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.set_default_timeout(20_000)

    def open(self, script: str = "") -> "Page":
        """Open another tab, and run a script before its page."""
        page = self.context.new_page()
        if script:
            page.add_init_script(script)
        page.goto(self.url)
        page.wait_for_function("window.auth")
        return page

    def calls(self) -> int:
        """Return how many requests were sent since the last call of this method."""
        asked = [url for url in self.asked if "/auth/" in url]
        self.asked.clear()
        return len(asked)

    def created(self) -> list[str]:
        """Return the ids of all users that the service has told of."""
        told = call(self.server.base_url, "GET", "/_local/events").json()
        return [e["detail"]["uid"] for e in told if e["detail-type"] == "user.created"]

    def profile(self, token: str) -> dict[str, Any]:
        answer = call(self.server.base_url, "GET", f"{API}/auth/profile", token=token)
        assert answer.status == 200
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def tabs(chromium: "Browser", server: LocalServer) -> Iterator[Tabs]:
    context = chromium.new_context()
    with served_page(server) as url:
        yield Tabs(context, server, url)
        context.close()


@pytest.fixture
def elsewhere(chromium: "Browser", tabs: Tabs) -> Iterator[Tabs]:
    """Another browser at the same app."""
    context = chromium.new_context()
    yield Tabs(context, tabs.server, tabs.url)
    context.close()


def register(server: LocalServer, log_in_too: bool = False) -> str:
    path = f"{API}/app/{APP}/auth/providers/local-userpass"
    body = b'{"email": "ada@example.com", "password": "correct horse"}'
    assert call(server.base_url, "POST", f"{path}/register", body=body).status == 200
    if not log_in_too:
        return ""
    answer = call(
        server.base_url,
        "POST",
        f"{path}/login",
        body=body.replace(b"email", b"username"),
    )
    return str(answer.json()["user_id"])


def answered(status: int, retry_after: str | None = None) -> Callable[["Route"], None]:
    headers = {"access-control-allow-origin": "*"}
    if retry_after:
        headers |= {
            "retry-after": retry_after,
            "access-control-expose-headers": "retry-after",
        }
    return lambda route: route.fulfill(status=status, headers=headers, body="{}")


def test_given_nobody_when_a_token_is_asked_for_then_a_guest_is_made_once(
    tabs: Tabs,
) -> None:
    page = tabs.open()
    before = page.evaluate("auth.user")

    tokens = page.evaluate("Promise.all([auth.token(), auth.token(), auth.token()])")
    user = page.evaluate("auth.user")

    profile = tabs.profile(tokens[0])
    assert before is None
    assert len(set(tokens)) == 1
    assert tabs.calls() == 1
    assert user == {
        "id": profile["user_id"],
        "anonymous": True,
        "expires_at": profile["expires_at"],
    }
    assert page.evaluate("users") == [user]


@pytest.mark.long
def test_given_a_guest_when_the_page_is_reloaded_then_nothing_is_asked(
    tabs: Tabs,
) -> None:
    page = tabs.open()
    token = page.evaluate("auth.token()")
    tabs.calls()

    page.reload()
    page.wait_for_function("window.auth")

    assert page.evaluate("auth.token()") == token
    assert tabs.calls() == 0


@pytest.mark.long
def test_given_a_day_later_when_a_token_is_asked_for_then_the_expiry_has_moved(
    tabs: Tabs, server: LocalServer
) -> None:
    page = tabs.open()
    page.evaluate("auth.token()")
    before = page.evaluate("auth.user")
    server.advance(timedelta(days=1))

    token = page.evaluate("auth.token({ fresh: true })")

    after = page.evaluate("auth.user")
    assert after["id"] == before["id"]
    assert after["expires_at"] > before["expires_at"]
    assert after["expires_at"] == tabs.profile(token)["expires_at"]


@pytest.mark.long
def test_given_two_tabs_when_both_start_at_once_then_there_is_one_guest(
    tabs: Tabs,
) -> None:
    pages = [tabs.open(), tabs.open()]
    start = """(at) => {
        window.result = new Promise((done) => setTimeout(done, at - Date.now()))
            .then(() => auth.token()).then(() => auth.user.id);
    }"""
    found = []

    for _ in range(50):
        pages[0].evaluate("localStorage.clear()")
        pages[1].wait_for_function("auth.user === null")
        at = pages[0].evaluate("Date.now() + 40")
        for page in pages:
            page.evaluate(start, at)
        found.append([page.evaluate("result") for page in pages])

    assert [first for first, second in found if first != second] == []
    assert sorted(tabs.created()) == sorted(first for first, _ in found)


@pytest.mark.long
def test_given_an_answer_that_is_lost_when_repeated_then_the_guest_is_the_same(
    tabs: Tabs,
) -> None:
    page = tabs.open()

    def lose(route: "Route") -> None:
        route.fetch()
        route.abort()

    page.route(LOGIN, lose, times=1)
    lost = page.evaluate("failure(auth.token())")
    page.reload()
    page.wait_for_function("window.auth")

    page.evaluate("auth.token()")

    assert lost["status"] is None
    assert tabs.created() == [page.evaluate("auth.user.id")]


@pytest.mark.long
def test_given_two_tabs_when_one_logs_out_then_the_other_is_told(tabs: Tabs) -> None:
    one, two = tabs.open(), tabs.open()
    one.evaluate("auth.token()")
    two.wait_for_function("users.length === 1")

    one.evaluate("auth.logOut()")
    two.wait_for_function("users.length === 2")

    assert two.evaluate("[users[1], auth.user]") == [None, None]
    first = two.evaluate("users[0].id")
    two.evaluate("auth.token()")
    assert two.evaluate("auth.user.id") != first


@pytest.mark.long
def test_given_a_guest_when_linked_then_it_keeps_its_id_and_another_browser_has_it(
    tabs: Tabs, server: LocalServer, elsewhere: Tabs
) -> None:
    register(server)
    page = tabs.open()
    page.evaluate("auth.token()")
    guest = page.evaluate("auth.user.id")

    page.evaluate("ada => auth.link('local-userpass', ada)", ADA)

    linked = {"id": guest, "anonymous": False, "expires_at": None}
    assert page.evaluate("auth.user") == linked
    other = elsewhere.open()
    merged = other.evaluate("ada => auth.logIn('local-userpass', ada)", ADA)
    found = other.evaluate("auth.user")
    assert (merged, found) == (False, linked)


@pytest.mark.long
def test_given_a_taken_address_when_logged_in_with_merge_then_the_guest_comes_along(
    tabs: Tabs, server: LocalServer
) -> None:
    owner = register(server, log_in_too=True)
    page = tabs.open()
    page.evaluate("auth.token()")
    guest = page.evaluate("auth.user.id")

    link = page.evaluate("ada => failure(auth.link('local-userpass', ada))", ADA)
    still = page.evaluate("auth.user.id")
    merged = page.evaluate(
        "ada => auth.logIn('local-userpass', ada, { merge: true })", ADA
    )

    assert (link["status"], still) == (409, guest)
    assert (merged, page.evaluate("auth.user.id")) == (True, owner)
    assert tabs.profile(page.evaluate("auth.token()"))["former_ids"] == [guest]


@pytest.mark.long
def test_given_a_session_that_has_ended_when_it_links_then_no_other_user_is_linked(
    tabs: Tabs, server: LocalServer
) -> None:
    register(server)
    page = tabs.open()
    page.evaluate("ada => auth.link('local-userpass', ada)", ADA)
    ended = "failure(auth.link('local-userpass', { username: 'b', password: 'b' }))"
    token = page.evaluate(
        "JSON.parse(localStorage[Object.keys(localStorage)[0]]).refresh"
    )
    call(server.base_url, "DELETE", f"{API}/auth/session", token=token)

    refused = page.evaluate(ended)

    assert refused["message"] == "the user's session has ended"
    assert page.evaluate("auth.user.anonymous") is True


@pytest.mark.long
def test_given_a_user_when_logged_out_everywhere_then_other_sessions_end(
    tabs: Tabs, server: LocalServer, elsewhere: Tabs
) -> None:
    register(server)
    page, other = tabs.open(), elsewhere.open()
    for each in (page, other):
        each.evaluate("ada => auth.logIn('local-userpass', ada)", ADA)

    page.evaluate("auth.logOut({ everywhere: true })")
    other.evaluate("auth.token({ fresh: true })")

    assert page.evaluate("auth.user") is None
    assert [u and u["anonymous"] for u in other.evaluate("users")][-1] is True


@pytest.mark.long
def test_given_no_network_at_the_start_when_it_is_back_then_the_guest_is_kept(
    tabs: Tabs,
) -> None:
    page = tabs.open()
    page.evaluate("auth.token()")
    guest = page.evaluate("auth.user.id")
    tabs.context.set_offline(True)

    valid = page.evaluate("failure(auth.token())")
    lost = page.evaluate("failure(auth.token({ fresh: true }))")
    out = page.evaluate("failure(auth.logOut())")
    kept = page.evaluate("auth.user.id")
    tabs.context.set_offline(False)
    page.evaluate("auth.token({ fresh: true })")

    assert valid is None
    assert (lost["status"], out["status"]) == (None, None)
    assert kept == guest == page.evaluate("auth.user.id")


REFUSALS = [
    pytest.param(503, "1", True, id="busy for a second"),
    pytest.param(429, "1", True, id="too often, for a second"),
    pytest.param(503, None, False, id="busy, nobody knows how long"),
    pytest.param(429, "3600", False, id="too often, for an hour"),
    pytest.param(500, None, False, id="the gateway failed"),
    pytest.param(403, None, False, id="a firewall's refusal"),
]


@pytest.mark.long
@pytest.mark.parametrize(("status", "retry_after", "succeeds"), REFUSALS)
def test_given_trouble_when_refreshed_then_the_user_is_kept(
    tabs: Tabs, status: int, retry_after: str | None, succeeds: bool
) -> None:
    page = tabs.open()
    page.evaluate("auth.token()")
    guest = page.evaluate("auth.user.id")
    page.route(SESSION, answered(status, retry_after), times=1)

    failure = page.evaluate("failure(auth.token({ fresh: true }))")

    assert page.evaluate("auth.user.id") == guest
    if succeeds:
        assert failure is None
    else:
        assert failure["status"] == status
        assert failure["retryAfter"] == int(retry_after or 0)
    tabs.calls()
    again = page.evaluate("failure(auth.token({ fresh: true }))")
    if retry_after == "3600":
        assert (again["status"], tabs.calls()) == (429, 0)
    else:
        assert (again, tabs.calls()) == (None, 1)


@pytest.mark.long
@pytest.mark.parametrize("minutes", [-5, 5])
def test_given_a_wrong_clock_when_tokens_are_asked_for_then_each_is_used_to_its_end(
    tabs: Tabs, minutes: int
) -> None:
    page = tabs.open(
        f"window.ahead = {minutes * 60_000}; const now = Date.now;"
        "Date.now = () => now() + window.ahead;"
    )
    token = page.evaluate("auth.token()")
    page.evaluate("ahead += 28.9 * 60_000")
    late = page.evaluate("auth.token()")
    page.evaluate("ahead += 0.2 * 60_000")

    too_late = page.evaluate("auth.token()")

    assert late == token
    assert too_late != token
    assert tabs.calls() == 2


@pytest.mark.long
def test_given_a_guest_that_expired_when_a_token_is_asked_for_then_a_new_one_is_made(
    tabs: Tabs, server: LocalServer
) -> None:
    page = tabs.open()
    page.evaluate("auth.token()")
    first = page.evaluate("auth.user.id")
    server.advance(timedelta(days=92))

    page.evaluate("auth.token({ fresh: true })")

    told = page.evaluate("users.map((user) => user && user.id)")
    assert told[0] == first
    assert told[-1] == page.evaluate("auth.user.id") != first


@pytest.mark.long
def test_given_another_storage_when_used_then_it_has_a_user_of_its_own(
    tabs: Tabs,
) -> None:
    page = tabs.open()
    page.evaluate("""() => {
        let kept = null;
        const storage = { getItem: () => kept, setItem: (_, text) => { kept = text; } };
        window.other = make({ storage });
    }""")

    page.evaluate("other.token()")

    assert page.evaluate("[auth.user, localStorage.length]") == [None, 0]
    assert tabs.created() == [page.evaluate("other.user.id")]


@pytest.mark.long
def test_given_a_service_for_other_origins_when_imported_then_the_browser_refuses(
    chromium: "Browser",
) -> None:
    parameters = {"AllowedOrigins": "https://other.example"}
    with (
        LocalServer(app_ids=(APP,), aws_port=0, parameters=parameters) as server,
        served_page(server) as url,
    ):
        context = chromium.new_context()
        page = context.new_page()
        page.goto(url)

        refused = page.evaluate(
            "url => import(`${url}/anonauth.mjs`).catch((error) => error.name)",
            server.base_url,
        )
        context.close()

    assert refused == "TypeError"


@pytest.mark.long
def test_given_the_readme_when_copied_then_a_page_has_the_same_user_after_a_reload(
    chromium: "Browser", server: LocalServer
) -> None:
    code = block("the app", server.base_url).replace("{", "{{").replace("}", "}}")
    said: list[str] = []
    context = chromium.new_context()
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    with served_page(server, f'<script type="module">{code}</script>') as url:
        with page.expect_console_message():
            page.goto(url)
        page.reload()
        with page.expect_response("**/auth/session") as refreshed:
            page.evaluate(
                """url => import(`${url}/anonauth.mjs`).then(({ anonauth }) =>
                    anonauth({ app: "myapp-abcde" }).token({ fresh: true }))""",
                server.base_url,
            )
    context.close()

    told = call(server.base_url, "GET", "/_local/events").json()
    (user,) = [e["detail"]["uid"] for e in told if e["detail-type"] == "user.created"]
    assert refreshed.value.status == 200
    assert said == [f"user {user}"]
