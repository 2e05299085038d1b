"""The sample pages that mails link to, in real Chromium: what a person is told."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest

from anonauth.local.api_gateway import HttpRequest, HttpResponse
from anonauth.local.http import HttpServer, wsgi_application
from anonauth.local.server import LocalServer
from browser.person import ARTEFACTS
from support.project.pages import DOCS, SERVED_AT
from support.project.tools import require_tool
from support.service.calls import API, APP, call

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.long

OLD, NEW = "correct horse", "battery staple"
CONFIRM, SET = "Confirm my address", "Set the password"
USERPASS = f"{API}/app/{APP}/auth/providers/local-userpass"
NO_LONGER, INCOMPLETE = "This link no longer works.", "This link is not complete."


class Site:
    """An app's site with the two pages, on an origin of its own, and a person there."""

    def __init__(self, server: LocalServer, email: str) -> None:
        self.server = server
        self.email = email

    def send(self, path: str, **body: str) -> int:
        """Call local-userpass as the app does, and return the status."""
        data = json.dumps(body).encode()
        answer = call(self.server.base_url, "POST", f"{USERPASS}/{path}", body=data)
        return answer.status

    def log_in(self, password: str = OLD) -> int:
        return self.send("login", username=self.email, password=password)

    def link_to_confirm(self) -> str:
        """Register the address and return the link of the mail."""
        assert self.send("register", email=self.email, password=OLD) == 200
        return self.newest_link()

    def link_to_reset(self) -> str:
        """Return the link of a reset mail for an address that can log in."""
        link = self.link_to_confirm()
        token, token_id = re.findall(r"=([^&]+)", link)
        assert self.send("confirm", token=token, tokenId=token_id) == 200
        assert self.log_in() == 200
        assert self.send("reset/send", email=self.email) == 200
        return self.newest_link()

    def newest_link(self) -> str:
        mails = call(self.server.base_url, "GET", "/_local/outbox").json()
        (link,) = re.findall(r"^http\S+$", mails[-1]["text"], re.MULTILINE)
        return str(link)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The service, which takes calls of pages of the site only."""
    service = ""

    def page(request: HttpRequest) -> HttpResponse:
        text = (DOCS / "pages" / f"{request.path.strip('/')}.html").read_text()
        assert text.count(SERVED_AT) == 1
        served = text.replace(SERVED_AT, service).encode()
        return HttpResponse(200, (("content-type", "text/html"),), served)

    pages = HttpServer("127.0.0.1", 0)
    pages.serve(wsgi_application(page))
    origin = f"http://127.0.0.1:{pages.port}"
    mail = {"sender": "App <app@example.com>"}
    mail |= {f"{name}_url": f"{origin}/{name}" for name in ("confirm", "reset")}
    settings = tmp_path_factory.mktemp("site") / "settings.json"
    settings.write_text(json.dumps({"apps": {APP: {"local-userpass": {"mail": mail}}}}))
    with LocalServer(
        app_ids=(APP,), settings=settings, parameters={"AllowedOrigins": origin}
    ) as running:
        service = running.base_url
        yield running
    pages.close()


@pytest.fixture
def site(server: LocalServer) -> Site:
    return Site(server, f"{token_hex(8)}@example.com")


Open = Callable[..., "Page"]


@pytest.fixture
def open_link(chromium: "Browser") -> Iterator[Open]:
    """A function that opens a link. At the end no page may have failed."""
    faults: list[str] = []
    contexts = []

    def open_page(link: str, **look: Any) -> "Page":
        context = chromium.new_context(**look)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(link)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def press(page: "Page", words: str) -> None:
    page.get_by_role("button", name=words, exact=True).click()


def set_password(page: "Page", password: str) -> None:
    page.get_by_label("New password", exact=True).fill(password)
    press(page, SET)


def told(page: "Page", words: str) -> str:
    """Wait until these words are shown, and return all that the page says then."""
    page.get_by_role("status").get_by_text(words).wait_for()
    return str(page.locator("main").inner_text())


def test_given_a_link_when_the_button_is_pressed_then_the_address_is_confirmed(
    site: Site, open_link: Open
) -> None:
    page = open_link(site.link_to_confirm())
    before = site.log_in()

    press(page, CONFIRM)

    told(page, "Your address is confirmed.")
    assert (before, site.log_in()) == (401, 200)
    assert page.get_by_role("button").count() == 0


def test_given_a_link_that_was_used_when_pressed_again_then_it_is_still_confirmed(
    site: Site, open_link: Open
) -> None:
    link = site.link_to_confirm()
    for _ in range(2):
        page = open_link(link)
        press(page, CONFIRM)

        told(page, "Your address is confirmed.")


def test_given_a_link_when_followed_then_a_new_password_is_set(
    site: Site, open_link: Open
) -> None:
    page = open_link(site.link_to_reset())

    set_password(page, NEW)

    told(page, "Your new password is set, and you are logged out on all devices.")
    assert (site.log_in(OLD), site.log_in(NEW)) == (401, 200)
    assert page.get_by_role("button").count() == 0


def test_given_a_link_that_was_used_when_followed_then_the_password_stays(
    site: Site, open_link: Open
) -> None:
    link = site.link_to_reset()
    first = open_link(link)
    set_password(first, NEW)
    told(first, "Your new password is set")

    second = open_link(link)
    set_password(second, "another password")

    told(second, NO_LONGER)
    assert site.log_in(NEW) == 200
    assert second.get_by_role("button").count() == 0


def expire(site: Site) -> None:
    site.server.advance(timedelta(minutes=31))


def replace_confirm(site: Site) -> None:
    assert site.send("confirm/send", email=site.email) == 200


def replace_reset(site: Site) -> None:
    assert site.send("reset/send", email=site.email) == 200


@pytest.mark.parametrize(
    "outdate",
    [pytest.param(expire, id="expired"), pytest.param(replace_confirm, id="replaced")],
)
def test_given_an_outdated_confirm_link_when_pressed_then_the_page_says_what_to_do(
    outdate: Callable[[Site], None], site: Site, open_link: Open
) -> None:
    page = open_link(site.link_to_confirm())
    outdate(site)

    press(page, CONFIRM)

    assert "Let the app send you another mail." in told(page, NO_LONGER)
    assert site.log_in() == 401


@pytest.mark.parametrize(
    "outdate",
    [pytest.param(expire, id="expired"), pytest.param(replace_reset, id="replaced")],
)
def test_given_an_outdated_reset_link_when_followed_then_the_page_says_what_to_do(
    outdate: Callable[[Site], None], site: Site, open_link: Open
) -> None:
    page = open_link(site.link_to_reset())
    outdate(site)

    set_password(page, NEW)

    assert "Let the app send you another mail" in told(page, NO_LONGER)
    assert (site.log_in(OLD), site.log_in(NEW)) == (200, 401)


def test_given_a_password_that_is_too_short_when_set_then_a_longer_one_can_follow(
    site: Site, open_link: Open
) -> None:
    page = open_link(site.link_to_reset())

    set_password(page, "short")
    told(page, "the password must be between 6 and 128 characters. Choose another one.")
    focused = page.evaluate("document.activeElement.id")
    old = site.log_in(OLD)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(NEW)
    page.keyboard.press("Enter")

    told(page, "Your new password is set")
    assert (focused, old, site.log_in(NEW)) == ("password", 200, 200)


@pytest.mark.parametrize(
    ("cut", "is_seen_at_once"),
    [
        pytest.param(r"\?.*", True, id="no query"),
        pytest.param(r"&tokenId=.*", True, id="no token id"),
        pytest.param(r"(?<=token=)", True, id="no token"),
        pytest.param(r"(?<=token=.{20})[^&]*", False, id="half a token"),
    ],
)
@pytest.mark.parametrize("name", ["confirm", "reset"])
def test_given_a_link_that_is_cut_when_opened_then_the_page_says_so(
    name: str, cut: str, is_seen_at_once: bool, site: Site, open_link: Open
) -> None:
    link = site.link_to_confirm() if name == "confirm" else site.link_to_reset()
    if cut.startswith("(?<=token=)"):
        cut = r"(?<=token=)[^&]*"

    page = open_link(re.sub(cut, "", link))
    if not is_seen_at_once:
        press(page, CONFIRM) if name == "confirm" else set_password(page, NEW)

    told(page, INCOMPLETE)
    assert page.get_by_role("button").count() == 0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(None, "Our service could not be reached", id="no answer"),
        pytest.param(503, "Our service could not be reached", id="503"),
        pytest.param(429, "There were too many attempts.", id="429"),
    ],
)
@pytest.mark.parametrize("name", ["confirm", "reset"])
def test_given_a_service_in_trouble_when_it_is_back_then_the_same_page_works(
    name: str, status: int | None, words: str, site: Site, open_link: Open
) -> None:
    link = site.link_to_confirm() if name == "confirm" else site.link_to_reset()
    page = open_link(link)
    address = f"**/local-userpass/{name}"

    def trouble(route: Any) -> None:
        if status is None:
            route.abort()
        else:
            headers = {"Access-Control-Allow-Origin": "*"}
            route.fulfill(status=status, headers=headers, body="{}")

    page.route(address, trouble)
    press(page, CONFIRM) if name == "confirm" else set_password(page, NEW)
    told(page, words)
    page.unroute(address)
    press(page, CONFIRM if name == "confirm" else SET)

    told(page, "confirmed." if name == "confirm" else "is set")
    assert site.log_in(OLD if name == "confirm" else NEW) == 200


def test_given_a_password_when_it_is_to_be_shown_then_it_can_be_read(
    site: Site, open_link: Open
) -> None:
    page = open_link(site.link_to_reset())
    field = page.get_by_label("New password", exact=True)
    kinds = [field.get_attribute("type")]

    for _ in range(2):
        page.get_by_label("Show the password").click()
        kinds.append(field.get_attribute("type"))

    assert kinds == ["password", "text", "password"]


def test_given_the_keyboard_alone_when_used_then_it_suffices(
    site: Site, open_link: Open
) -> None:
    confirm = open_link(site.link_to_confirm())
    confirm.keyboard.press("Tab")
    confirm.keyboard.press("Enter")
    told(confirm, "Your address is confirmed.")
    on_outcome = confirm.evaluate("document.activeElement.id")
    assert site.send("reset/send", email=site.email) == 200
    reset = open_link(site.newest_link())
    reset.keyboard.press("Tab")
    reset.keyboard.type(NEW)
    for _ in range(2):
        reset.keyboard.press("Tab")
    reset.keyboard.press("Space")

    told(reset, "Your new password is set")
    assert on_outcome == "outcome"
    assert site.log_in(NEW) == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["confirm", "reset"])
def test_given_a_scheme_when_checked_by_axe_then_it_finds_nothing(
    name: str, scheme: str, site: Site, open_link: Open
) -> None:
    axe = require_tool("axe-core").read_text()
    look = {"color_scheme": scheme, "viewport": {"width": 390, "height": 844}}
    link = site.link_to_confirm() if name == "confirm" else site.link_to_reset()
    page = open_link(link, **look)
    found: list[Any] = []

    def check(state: str) -> None:
        page.evaluate(axe)
        result = page.evaluate("axe.run()")
        assert len(result["passes"]) > 10
        found.extend(
            (state, rule["id"], node["target"], node["failureSummary"])
            for rule in result["violations"]
            for node in rule["nodes"]
        )
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{name}-{state}-{scheme}.png")

    check("before")
    if name == "reset":
        set_password(page, "short")
        told(page, "Choose another one.")
        check("refused")
        set_password(page, NEW)
        told(page, "is set")
    else:
        press(page, CONFIRM)
        told(page, "is confirmed")
    check("after")
    width = page.evaluate("document.documentElement.scrollWidth")
    text = page.evaluate("getComputedStyle(document.body).color")

    assert found == []
    assert width <= 390
    is_bright = sum(map(int, text.removeprefix("rgb(").strip(")").split(","))) > 3 * 128
    assert is_bright == (scheme == "dark")
