"""The playground in real Chromium: what a new user sees, and what is stored."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from anonauth.local.api_gateway import HttpResponse
from anonauth.local.http import HttpServer, wsgi_application
from anonauth.local.outbox import SentMail
from anonauth.local.server import LocalServer
from browser.person import LAST, STEPS, Person
from support.forgery.key_server import KeyServer
from support.project.tools import ROOT, require_tool
from support.service.calls import APP, OTHER_APP, call

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.long

Visit = Callable[..., Person]
Press = Callable[[str, str], None]

ONE, TWO, CLOCK = "Device 1", "Device 2", "Clock"
GUEST, REGISTER, LINK, LOG_IN = "Sign in as a guest", "Register", "Link", "Log in"
REFRESH, WHO, LOG_OUT = "Refresh", "Who am I?", "Log out"
REPEAT, EVERYWHERE = "Repeat", "Log out everywhere"
MERGE = "Log in and bring the guest along"
RELOAD, FORGET = "Reload", "Forget this browser"
MAIL = {
    "sender": "The App <app@example.com>",
    "confirm_url": "https://www.example.com/confirm",
    "reset_url": "https://www.example.com/reset",
}


def stored(server: LocalServer, user_id: str) -> dict[str, Any] | None:
    dynamodb = boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=server.aws_url,
        aws_access_key_id="ASIAEXAMPLE",
        aws_secret_access_key="another",
    )
    key = {"pk": {"S": f"USER#{APP}#{user_id}"}}
    got = dynamodb.get_item(TableName="anonauth-local", Key=key)
    item: dict[str, Any] | None = got.get("Item")
    return item


def is_guest(server: LocalServer, user_id: str) -> bool:
    """Tell whether a user, who has to be stored, is anonymous."""
    item = stored(server, user_id)
    assert item is not None
    return bool(item["anonymous"]["BOOL"])


def event_types(server: LocalServer, user_id: str) -> list[str]:
    """Return the types of one user's events, in order."""
    events = server.deployment.events.entries()
    return [event.type for event in events if event.detail["uid"] == user_id]


def run(line: str) -> Any:
    """Run a line as a terminal would, and return the answer."""
    bash, _ = require_tool("bash"), require_tool("curl")
    ran = subprocess.run(  # noqa: S603 - a line of our own page
        [bash, "-euo", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(ran.stdout)


def done_steps(person: Person) -> list[str]:
    """Return the names of the steps that are marked as done."""
    done = person.at(STEPS).locator("li.done").all()
    return [str(step.get_attribute("data-step")) for step in done]


def merge_the_guest(
    server: LocalServer, person: Person, press: Press, owner: str
) -> None:
    """Merge the guest of the second device, and make another one there."""
    guest = person.user_id(TWO)
    press(MERGE, TWO)
    person.reads(f"The guest {guest} was merged into this user", at=TWO)
    assert person.user_id(TWO) == owner
    assert stored(server, guest) is None
    assert event_types(server, guest) == ["user.created", "user.merged"]
    person.at(TWO).get_by_text("What the access token says").click()
    person.reads(f'["{guest}"]', at=TWO)
    person.reads("ids of guests that were merged into this user", at=TWO)
    person.reads(f"into {owner}", at="Events")
    press(LOG_OUT, TWO)
    press(GUEST, TWO)
    person.reads("A guest (an anonymous user).", at=TWO)


def let_the_guest_expire(server: LocalServer, person: Person, press: Press) -> None:
    """Let the guest of the second device expire, and its events arrive."""
    guest = person.user_id(TWO)
    press("+ 91 days and 1 hour", CLOCK)
    person.reads("expired. Press Refresh.", at=TWO)
    press(REFRESH, TWO)
    person.reads(f"the guest {guest} was removed", at=TWO)
    person.reads("14 days left", at="Events")

    press("+ 1 day", CLOCK)
    person.reads("user.deleted", at="Events")
    assert stored(server, guest) is None
    expiring, deleted = ["user.expiring"] * 2, ["user.deleted"]
    assert event_types(server, guest) == ["user.created", *expiring, *deleted]


def follow_the_story(
    server: LocalServer, person: Person, press: Press, tap: Press
) -> None:
    """Follow the page's steps in order; after each, check the page and the table."""
    press(GUEST, ONE)
    person.reads("A guest (an anonymous user).", at=ONE)
    person.reads("good for 29 min", at=ONE)
    first = person.user_id(ONE)
    assert is_guest(server, first)

    person.comes_back(lambda: tap(RELOAD, STEPS))
    person.reads("Came back as the same guest", at=ONE)
    assert person.user_id(ONE) == first

    press(REPEAT, ONE)
    person.reads("the same user, and the same session", at=ONE)
    assert person.user_id(ONE) == first
    assert event_types(server, first) == ["user.created"]

    press(REFRESH, ONE)
    person.reads("A new access token.", at=ONE)
    assert person.user_id(ONE) == first

    press(REGISTER, ONE)
    press(LINK, ONE)
    person.reads("A permanent user.", at=ONE)
    person.reads("never", at=ONE)
    assert person.user_id(ONE) == first
    assert not is_guest(server, first)

    press(LOG_IN, TWO)
    person.reads("✓ The same user as on Device 1", at=TWO)
    person.reads("✓ The same user as on Device 2", at=ONE)
    assert person.user_id(TWO) == first

    press(LOG_OUT, TWO)
    person.reads("Nobody is signed in.", at=TWO)
    person.reads("A permanent user.", at=ONE)

    press(GUEST, TWO)
    person.reads("A guest (an anonymous user).", at=TWO)
    assert person.user_id(TWO) != first

    merge_the_guest(server, person, press, first)
    let_the_guest_expire(server, person, press)

    press(REFRESH, ONE)
    person.reads("this session of", at=ONE)
    press(LOG_IN, ONE)
    person.reads("A permanent user.", at=ONE)
    assert person.user_id(ONE) == first
    assert event_types(server, first) == ["user.created", "user.linked"] + 3 * [
        "user.logged_in"
    ]
    story = person.at(STEPS)
    assert story.locator("li").count() == story.locator("li.done").count()


def test_given_a_newcomer_when_following_the_story_then_it_is_as_the_page_says(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server, viewport={"width": 1360, "height": 900})

    follow_the_story(server, person, person.press, person.tap)

    assert person.draw("playground").stat().st_size > 10_000


def test_given_a_keyboard_alone_when_following_the_story_then_it_works_too(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)

    follow_the_story(server, person, person.press_key, person.type_key)


def test_given_a_keyboard_when_walking_through_the_page_then_nothing_traps_it(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)

    person.tab_to("Skip to the calls", "")
    person.page.keyboard.press("Enter")
    person.page.keyboard.press("Tab")
    skipped_to = person.focus()
    person.tab_to("Skip to Device 1", "")  # over the end, to the beginning
    person.tab_to("Copy call 1", "Calls", key="Shift+Tab")

    assert skipped_to == ["SELECT", "Copy as", "Calls"]


def test_given_a_disabled_button_when_pressed_then_the_page_says_why(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)

    off = [w for w in (GUEST, REGISTER, LINK, LOG_IN, REFRESH) if person.is_off(w, ONE)]
    person.tab_to(REFRESH, ONE)
    person.page.keyboard.press("Enter")
    person.reads("Device 1: Refresh: nobody is signed in here.", at=LAST)
    off_alike = f"Link, {MERGE}, Refresh, Who am I?, Log out, {EVERYWHERE}"
    person.reads(f"{off_alike}: nobody is signed in here.", at=ONE)
    focus = person.focus()
    person.press(GUEST, ONE)
    person.reads("Sign in as a guest: log out first.", at=ONE)
    person.reads("Log in: link the address, or bring the guest along", at=ONE)

    assert off == [LINK, REFRESH]
    assert focus == ["BUTTON", REFRESH, ONE]  # the button keeps the focus
    assert not person.is_off(REFRESH, ONE)


def test_given_an_address_that_is_taken_when_used_then_it_says_to_choose_another(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(REGISTER, ONE)
    person.press(LOG_IN, ONE)
    person.press(GUEST, TWO)
    person.reads("A guest (an anonymous user).", at=TWO)

    for words in (REGISTER, LINK):
        person.press(words, TWO)
        person.reads("That address is taken. Choose another one, or log in", at=TWO)
        person.press(WHO, TWO)  # replaces the message
        person.reads("Identities: anon-user.", at=TWO)
    person.at(TWO).get_by_label("E-mail").fill("other@example.com")
    person.press(REGISTER, TWO)
    person.press(LINK, TWO)

    person.reads("A permanent user.", at=TWO)
    assert person.user_id(ONE) != person.user_id(TWO)


def test_given_a_guest_that_is_gone_when_brought_along_then_the_page_says_so(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(REGISTER, ONE)
    person.press(LOG_IN, ONE)
    person.press(GUEST, TWO)
    guest = person.user_id(TWO)
    person.press("+ 91 days and 1 hour", CLOCK)

    person.press(MERGE, TWO)
    person.reads(f"This was a plain login: the guest {guest} was gone", at=TWO)

    assert done_steps(person) == []
    assert person.user_id(TWO) == person.user_id(ONE)
    assert "user.merged" not in event_types(server, guest)


def test_given_a_guest_and_a_new_address_when_brought_along_then_it_is_linked(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(REGISTER, ONE)
    person.press(GUEST, TWO)
    guest = person.user_id(TWO)

    person.press(MERGE, TWO)
    person.reads("so it was linked to the guest.", at=TWO)

    assert person.user_id(TWO) == guest
    assert not is_guest(server, guest)


def test_given_two_devices_when_one_logs_out_everywhere_then_the_other_is_refused(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(REGISTER, ONE)
    person.press(LOG_IN, ONE)
    person.press(LOG_IN, TWO)
    user_id = person.user_id(TWO)

    person.press(EVERYWHERE, ONE)
    person.reads("Logged out on all devices.", at=ONE)
    person.press(REFRESH, TWO)
    person.reads("The user can log in again.", at=TWO)

    item = stored(server, user_id)
    assert item is not None
    assert item["sessions"] == {"M": {}}


@pytest.mark.parametrize("label", ["E-mail", "Password"])
def test_given_a_field_when_enter_is_pressed_then_it_links_a_guest_or_logs_in(
    label: str, server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(REGISTER, ONE)
    person.press(GUEST, ONE)
    person.reads("A guest (an anonymous user).", at=ONE)

    for device in (ONE, TWO):
        person.at(device).get_by_label(label).press("Enter")
        person.sees_call()
        person.reads("A permanent user.", at=device)
    person.at(ONE).get_by_label(label).press("Enter")
    person.reads("Log in: log out first.", at=LAST)

    calls = person.at("Calls").get_by_role("heading").all_inner_texts()
    assert calls[1:3] == [f"4. {TWO}: {LOG_IN}", f"3. {ONE}: {LINK}"]
    assert person.user_id(ONE) == person.user_id(TWO)
    assert person.page.url == server.page_url  # no form was sent


def test_given_calls_when_their_lines_are_copied_then_a_terminal_gets_the_same(
    server: LocalServer, visit: Visit
) -> None:
    password = 'it\'s $HOME `id` "x" \\ ! %41 ü 🔑'
    person = visit(server)
    person.allow_copying()
    for device in (ONE, TWO):
        person.at(device).get_by_label("Password").fill(password)
    person.press(GUEST, ONE)
    person.press(WHO, ONE)
    person.press(REGISTER, ONE)
    person.press(LINK, ONE)
    person.press(LOG_IN, TWO)
    person.reads("✓ The same user as on Device 1", at=TWO)
    shown = person.at("Calls").inner_text()

    anonymous, profile, _, linked, logged_in = (
        run(person.copied(number).replace("curl ", "curl -s ", 1))
        for number in range(1, 6)
    )

    user_id = person.user_id(ONE)
    assert anonymous["user_id"] == profile["user_id"] == user_id
    assert linked["user_id"] == logged_in["user_id"] == user_id
    assert password not in shown
    assert logged_in["refresh_token"][:40] not in shown
    login_key = re.search(r'"login_key":"([\w-]{43})"', person.copied(1))
    assert login_key is not None
    assert login_key[1] not in shown


def test_given_guests_when_the_page_is_reloaded_then_they_come_back_until_forgotten(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)
    person.press(GUEST, TWO)
    guests = [person.user_id(ONE), person.user_id(TWO)]

    person.comes_back(person.page.reload, calls=2)
    person.reads("Came back as the same guest", at=TWO)
    back = [person.user_id(ONE), person.user_id(TWO)]
    done = done_steps(person)
    person.tap(FORGET, STEPS)
    person.reads("This browser has forgotten all tokens.", at=LAST)
    person.reads("Nobody is signed in.", at=ONE)
    forgotten = done_steps(person)
    kept = person.page.evaluate("JSON.stringify(localStorage)")
    person.comes_back(person.page.reload, calls=0)
    person.reads("No call yet.", at=LAST)

    assert back == guests
    assert len(set(guests)) == 2
    assert (done, forgotten) == (["guest", "back"], [])
    assert not any(guest in kept for guest in guests)
    assert all(is_guest(server, guest) for guest in guests)  # they expire by themselves


def test_given_a_service_that_is_new_when_reloaded_then_the_page_starts_again(
    chromium: "Browser",
) -> None:
    with LocalServer(app_ids=(APP,)) as server:
        person = Person(chromium, server.page_url)
        person.press(GUEST, ONE)
        person.user_id(ONE)

    with LocalServer(app_ids=(APP,), port=server.port):
        person.page.reload()
        person.reads("Nobody is signed in.", at=ONE)
        person.reads("None yet.", at="Events")

    assert person.at("Calls").get_by_role("heading", level=3).count() == 0
    assert done_steps(person) == []
    person.page.context.close()


def test_given_another_tab_when_it_signs_in_then_this_one_shows_it(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    other = person.page.context.new_page()
    other.goto(server.page_url)
    other.locator("#device-1").get_by_text("Nobody is signed in.").wait_for()

    person.press(GUEST, ONE)
    guest = person.user_id(ONE)

    other.locator("#device-1 .user-id").get_by_text(guest).wait_for()


def test_given_an_expired_token_when_used_then_it_is_refreshed_and_repeated_once(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)
    person.press(REGISTER, ONE)
    guest = person.user_id(ONE)

    for words in (WHO, LINK):
        person.press("+ 31 minutes", CLOCK)
        person.press(words, ONE)
        person.sees_call()
        person.sees_call()
        person.reads("the page refreshed it and repeated the call.", at=ONE)
    person.press("+ 91 days and 1 hour", CLOCK)
    person.press(WHO, ONE)
    person.sees_call()
    person.reads("Refused, 401: this session of", at=ONE)

    calls = person.at("Calls").locator("li")
    lines = [
        f"{call.locator('h3').inner_text()} {call.locator('.answered').inner_text()}"
        for call in reversed(calls.all())
    ]
    assert lines[3:6] == [
        f"4. {ONE}: {WHO} answered 401",
        f"5. {ONE}: Refresh, after the 401 answered 200",
        f"6. {ONE}: {WHO}, repeated once answered 200",
    ]
    assert lines[7].endswith(f"{LINK} answered 401")
    assert lines[9].endswith(f"{LINK}, repeated once answered 200")
    assert lines[11:] == [
        f"12. {ONE}: {WHO} answered 401",
        f"13. {ONE}: Refresh, after the 401 answered 401",
    ]
    assert event_types(server, guest)[:2] == ["user.created", "user.linked"]


def test_given_a_guest_that_has_expired_when_linking_then_no_user_is_made(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)
    guest = person.user_id(ONE)
    person.press(REGISTER, ONE)
    person.press("+ 91 days and 1 hour", CLOCK)

    person.press(LINK, ONE)
    person.sees_call()
    person.reads(f"the guest {guest} was removed for good. Nothing was linked.", at=ONE)

    events = server.deployment.events.entries()
    assert [event.type for event in events].count("user.created") == 1
    assert done_steps(person) == ["guest"]


def test_given_a_lost_answer_when_signing_in_again_then_it_is_the_same_guest(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)

    def lose_answer(route: Any) -> None:
        route.fetch()
        route.abort()

    person.page.route("**/anon-user/login", lose_answer, times=1)
    person.press(GUEST, ONE)
    person.reads("No answer.", at=ONE)
    person.faults.clear()  # the browser's own message about the lost answer
    person.comes_back(person.page.reload, calls=0)
    person.reads("Nobody is signed in.", at=ONE)
    person.press(GUEST, ONE)
    guest = person.user_id(ONE)

    created = [event.detail["uid"] for event in server.deployment.events.entries()]
    assert created == [guest]


def test_given_a_guest_and_a_new_address_when_logging_in_then_no_second_user_is_made(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)
    person.press(REGISTER, ONE)
    person.press(REGISTER, ONE)

    person.reads("That address is registered already.", at=ONE)
    person.reads("Log in: link the address, or bring the guest along", at=ONE)
    person.reads("Log in: link the address on Device 1 first", at=TWO)
    off = [person.is_off(LOG_IN, device) for device in (ONE, TWO)]
    person.at(TWO).get_by_label("Password").press("Enter")
    person.reads("or this makes a second user.", at=LAST)
    person.press(LOG_OUT, ONE)
    person.reads("The guest was deleted", at=ONE)
    person.press(LOG_IN, TWO)
    person.reads("The address had no user yet, so this is a new user.", at=TWO)

    assert off == [True, True]
    assert person.at("Calls").get_by_role("heading", level=3).count() == 5


def test_given_another_user_when_the_guest_is_brought_there_then_no_step_is_done(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    for device, email in ((ONE, "grace@example.com"), (TWO, "ada@example.com")):
        person.at(device).get_by_label("E-mail").fill(email)
        person.press(REGISTER, device)
        person.press(LOG_IN, device)
    person.press(LOG_OUT, TWO)
    person.press(GUEST, TWO)

    person.press(MERGE, TWO)
    person.reads("This is another user than on Device 1.", at=TWO)

    assert done_steps(person) == []


def test_given_events_when_filtered_or_cleared_then_the_list_has_the_rest(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)
    person.press(GUEST, TWO)
    first, second = person.user_id(ONE), person.user_id(TWO)
    person.reads(second, at="Events")
    chooser = person.at("Events").get_by_label("Events of")

    chooser.select_option(ONE)
    of_first = person.at("Events").inner_text()
    chooser.select_option(TWO)
    of_second = person.at("Events").inner_text()
    person.tap("Clear", "Events")
    person.reads("None yet.", at="Events")

    assert [first in of_first, second in of_first] == [True, False]
    assert [first in of_second, second in of_second] == [False, True]
    assert server.deployment.events.entries() == []


def test_given_a_laptop_when_the_page_opens_then_devices_and_steps_are_in_sight(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server, viewport={"width": 1280, "height": 800})

    places = [ONE, TWO, STEPS]
    boxes = [person.at(place).bounding_box() for place in places]
    buttons = [person.button(GUEST, ONE), person.button(f"{ONE}: {GUEST}", STEPS)]
    bottoms = [b["y"] + b["height"] for b in (each.bounding_box() for each in buttons)]

    lefts = [box["x"] for box in boxes]
    assert lefts == sorted(lefts)
    assert len({box["y"] for box in boxes}) == 1
    assert max(bottoms) < 450
    assert person.page.get_by_text("For development only").is_visible()


def test_given_a_telephone_when_following_the_list_then_the_last_call_is_in_sight(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server, viewport={"width": 390, "height": 844})
    list_of_steps = person.at(STEPS).locator("li")
    status = person.at(LAST).get_by_role("status")
    numbers = []

    for at in range(list_of_steps.count()):
        for button in list_of_steps.nth(at).get_by_role("button").all():
            words = button.inner_text()
            if words == FORGET:
                continue
            if words == RELOAD:
                person.comes_back(button.click)
            else:
                button.click()
                person.sees_call()
            person.reads(f"Call {person.calls},", at=LAST)
            box = status.bounding_box()
            numbers.append(box["y"] >= 0 and box["y"] + box["height"] <= 844)

    assert len(numbers) == 17
    assert all(numbers)
    assert len(done_steps(person)) == list_of_steps.count()
    person.draw("playground-telephone")


@pytest.mark.parametrize("kind", ["fetch", "realm-web", "Python"])
def test_given_a_language_when_calls_are_copied_in_it_then_their_code_runs(
    kind: str, server: LocalServer, visit: Visit
) -> None:
    password = 'it\'s $HOME `id` "x" \\ ${1} \u2028 ü 🔑'
    person = visit(server)
    person.allow_copying()
    for device in (ONE, TWO):
        person.at(device).get_by_label("Password").fill(password)
    for words in (GUEST, REFRESH, WHO, REGISTER, LINK):
        person.press(words, ONE)
    for words in (GUEST, MERGE, LOG_OUT, LOG_IN):
        person.press(words, TWO)
    person.reads("✓ The same user as on Device 1", at=TWO)
    user_id = person.user_id(ONE)
    person.at("Calls").get_by_label("Copy as").select_option(kind)
    shown = person.at("Calls").inner_text()

    code = {number: person.copied(number) for number in (1, 2, 3, 5, 7, 9)}
    if kind == "realm-web":  # it is not signed in, so it links a guest of its own
        other = {"email": "ada@example.com", "password": password}
        path = f"/api/client/v2.0/app/{APP}/auth/providers/local-userpass/register"
        call(server.base_url, "POST", path, body=json.dumps(other).encode())
        code[5] = code[5].replace("grace@example.com", other["email"])
    answers = {number: run_code(kind, lines) for number, lines in code.items()}
    person.comes_back(person.page.reload, calls=2)
    remembered = person.at("Calls").get_by_label("Copy as").input_value()

    assert user_id in answers[7]
    assert user_id in answers[9]
    assert [number for number, printed in answers.items() if not printed.strip()] == []
    assert password not in shown
    assert remembered == kind


def test_given_calls_copied_for_the_module_when_run_in_a_page_then_they_work(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.allow_copying()
    for words in (GUEST, REFRESH, WHO, REGISTER, LINK):
        person.press(words, ONE)
    for words in (GUEST, MERGE):
        person.press(words, TWO)
    owner = person.user_id(ONE)
    person.press(EVERYWHERE, TWO)
    person.at("Calls").get_by_label("Copy as").select_option("anonauth.mjs")
    printed: list[str] = []
    person.page.on("console", lambda message: printed.append(message.text))

    for number in (1, 2, 3, 7, 8):
        person.page.evaluate(f"async () => {{ {person.copied(number)} }}")
    kept = person.page.evaluate(
        "Object.entries(localStorage).filter(([name]) => name.startsWith('anonauth '))"
    )
    for name, _ in kept:
        person.page.evaluate("name => localStorage.removeItem(name)", name)

    assert len(printed) == 4
    assert owner in printed[3]  # the guest was brought along to the user of the address
    assert [value for _, value in kept] == ["{}"]  # nobody, after the logout


def run_code(kind: str, code: str) -> str:
    """Run code that was copied, and return what it prints."""
    python = [sys.executable, "-c", code]
    node = [str(require_tool("node")), "--input-type=module", "-e", code]
    ran = subprocess.run(  # noqa: S603 - code of our own page
        python if kind == "Python" else node,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=ROOT / "tests" / "sdk",  # where realm-web is
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    return ran.stdout


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A page of another origin, on this machine."""
    page = HttpResponse(200, (("content-type", "text/html"),), b"<!doctype html><p>")
    http_server = HttpServer("127.0.0.1", 0)
    http_server.serve(wsgi_application(lambda request: page))
    yield f"http://127.0.0.1:{http_server.port}/"
    http_server.close()


@pytest.fixture
def with_mail(tmp_path: Path) -> Iterator[LocalServer]:
    path = tmp_path / "settings.json"
    apps = {APP: {"local-userpass": {"mail": MAIL}}, "*": {"api-key": {}}}
    path.write_text(json.dumps({"apps": apps}))
    with LocalServer(app_ids=(APP, OTHER_APP), settings=path, aws_port=0) as running:
        yield running


def test_given_confirmation_by_mail_when_linking_then_the_mails_button_confirms(
    with_mail: LocalServer, visit: Visit
) -> None:
    person = visit(with_mail)
    person.press(GUEST, ONE)

    person.press(REGISTER, ONE)
    person.reads("to grace@example.com", at="Mails")
    person.press(LINK, ONE)
    person.reads("Refused, 403: confirmation required", at=ONE)
    person.press("Confirm the address in the mail", STEPS)
    person.press(LINK, ONE)
    person.reads("A permanent user.", at=ONE)

    assert not is_guest(with_mail, person.user_id(ONE))


@pytest.fixture
def verifier() -> Iterator[KeyServer]:
    """A challenge service that accepts any answer."""
    with KeyServer() as service:
        service.publish("/siteverify", {"success": True})
        yield service


@pytest.fixture
def with_challenge(tmp_path: Path, verifier: KeyServer) -> Iterator[LocalServer]:
    challenge = {"verify_url": f"{verifier.url}/siteverify", "secret": "secret"}
    path = tmp_path / "settings.json"
    path.write_text(
        json.dumps({"apps": {APP: {"anon-user": {"challenge": challenge}}}})
    )
    parameters = {"AnonymousChallenge": "true"}
    with LocalServer(
        app_ids=(APP, OTHER_APP), settings=path, parameters=parameters
    ) as running:
        yield running


def test_given_a_challenge_when_its_answer_is_filled_in_then_a_guest_comes_in(
    with_challenge: LocalServer, verifier: KeyServer, visit: Visit
) -> None:
    person = visit(with_challenge)
    field = person.at(ONE).get_by_label("Challenge", exact=True)

    person.reads("Sign in as a guest: fill in an answer to the challenge.", at=ONE)
    off = person.is_off(GUEST, ONE)
    field.fill("an answer of more than 20 characters")
    person.draw("playground-challenge")
    field.press("Enter")
    person.sees_call()
    person.reads("A guest (an anonymous user).", at=ONE)
    shown = person.at("Calls").inner_text()
    person.page.get_by_label("App", exact=True).select_option(OTHER_APP)
    field.wait_for(state="hidden")
    person.press(GUEST, ONE)
    person.reads("A guest (an anonymous user).", at=ONE)

    assert off
    (asked,) = verifier.asked
    assert asked.form["response"] == "an answer of more than 20 characters"
    assert '"options":{"challenge":"an answer …ters"}}' in shown


def test_given_two_apps_when_the_other_is_chosen_then_the_page_starts_again(
    with_mail: LocalServer, visit: Visit
) -> None:
    person = visit(with_mail)
    person.press(GUEST, ONE)

    person.page.get_by_label("App", exact=True).select_option(OTHER_APP)

    person.page.get_by_text("Ways to sign in: anon-user, api-key.").wait_for()
    person.reads("Nobody is signed in.", at=ONE)
    person.reads("this app does not use e-mail and password", at=ONE)
    assert person.is_off(REGISTER, ONE)
    person.press(GUEST, ONE)
    person.reads(f"app/{OTHER_APP}/auth", at="Calls")


def test_given_text_with_tags_when_it_arrives_then_it_is_shown_and_not_run(
    with_mail: LocalServer, visit: Visit
) -> None:
    hostile = "<img src=/x onerror=\"document.title='run'\">"
    link = f"{MAIL['confirm_url']}?token={hostile}&tokenId=1"
    mail = SentMail(hostile, "a@b.c", hostile, f"{hostile} {link}", datetime.now(UTC))  # noqa: TID251
    person = visit(with_mail)

    with_mail.deployment.outbox.add(mail)
    person.reads(hostile, at="Mails")

    assert person.page.locator("img").count() == 0
    assert person.page.title() == "anonauth playground"


def test_given_an_event_that_is_read_when_more_arrive_then_it_stays_open(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server)
    person.press(GUEST, ONE)
    person.at("Events").get_by_text("All fields").click()

    person.press(GUEST, TWO)
    person.reads(person.user_id(TWO), at="Events")

    items = person.at("Events").locator("li")
    assert items.count() == 2
    assert items.locator("details[open]").count() == 1
    assert person.user_id(ONE) in items.last.locator("details[open]").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_given_a_scheme_when_checked_by_axe_then_it_finds_nothing(
    scheme: str, server: LocalServer, visit: Visit
) -> None:
    person = visit(server, color_scheme=scheme)
    found: list[Any] = []

    background = person.page.evaluate("getComputedStyle(document.body).backgroundColor")
    found += person.axe_findings()
    person.press(GUEST, ONE)
    person.press(REFRESH, ONE)
    person.press(GUEST, TWO)
    person.at(ONE).get_by_text("What the access token says").click()
    person.press("+ 91 days and 1 hour", CLOCK)
    person.press(REFRESH, TWO)
    person.reads("was removed", at=TWO)
    person.at("API").get_by_text("All calls", exact=True).click()
    for width in (390, 768, 1280):
        person.page.set_viewport_size({"width": width, "height": 800})
        person.draw(f"playground-{scheme}-{width}")
        found += person.axe_findings()

    assert found == []
    bright = sum(map(int, background.strip("rgb()").split(","))) > 3 * 128
    assert bright == (scheme == "light")


def test_given_a_small_telephone_when_the_page_is_read_then_it_fits_its_width(
    server: LocalServer, visit: Visit
) -> None:
    person = visit(server, viewport={"width": 320, "height": 640})
    person.press(GUEST, ONE)
    person.press(REGISTER, ONE)
    person.press(LINK, ONE)
    person.press(LOG_IN, TWO)
    person.at(ONE).get_by_text("What the access token says").click()
    person.at("Events").get_by_text("All fields").first.click()
    person.at("API").get_by_text("All calls", exact=True).click()
    person.reads("Refresh: get another access token", at="API")

    places = person.page.get_by_role("region").get_by_role("heading", level=2)
    order = places.all_inner_texts()
    tops = [places.nth(at).bounding_box()["y"] for at in range(len(order))]
    width = person.page.evaluate("document.documentElement.scrollWidth")
    person.draw("playground-narrow")

    assert width <= 320
    assert order == [*[ONE, TWO, STEPS, "Calls", CLOCK, "Mails", "Events", "API"]]
    assert tops == sorted(tops)
    assert tops[order.index(CLOCK)] - tops[order.index("Calls")] < 640 + 100


def test_given_a_service_that_stops_when_the_page_asks_then_it_says_so(
    chromium: "Browser",
) -> None:
    with LocalServer(app_ids=(APP,)) as server:
        person = Person(chromium, server.page_url)
        person.press(GUEST, ONE)

    person.page.get_by_role("alert").get_by_text("does not answer").wait_for()
    person.press(REFRESH, ONE)
    person.reads("No answer. Is", at=ONE)
    person.page.context.close()


def test_given_a_page_elsewhere_when_it_embeds_or_reads_then_it_gets_nothing(
    server: LocalServer, chromium: "Browser", elsewhere: str
) -> None:
    page = chromium.new_context().new_page()
    page.goto(elsewhere)

    embedded = page.evaluate(
        "url => new Promise(end => { const f = document.createElement('iframe');"
        " f.onload = end; f.src = url; document.body.append(f); })"
        ".then(() => 'loaded')",
        server.page_url,
    )
    read = page.evaluate(
        "url => fetch(url).then(answer => answer.text(), () => 'nothing')",
        f"{server.page_url}_local/stack",
    )
    script = page.evaluate(
        "url => new Promise(end => { const s = document.createElement('script');"
        " s.onload = () => end('ran'); s.onerror = () => end('nothing');"
        " s.src = url; document.head.append(s); })",
        f"{server.page_url}_local/playground.js",
    )

    assert embedded == "loaded"  # the frame has the browser's error page
    assert "Device 1" not in page.frames[1].content()
    assert (read, script) == ("nothing", "nothing")
    page.context.close()


def test_given_the_api_when_the_page_is_read_then_it_lists_what_is_described(
    server: LocalServer, visit: Visit
) -> None:
    described = call(server.base_url, "GET", "/openapi.json").json()

    person = visit(server)

    closed = not person.at("API").get_by_role("table").is_visible()
    person.at("API").get_by_text("All calls", exact=True).click()
    person.reads("Refresh: get another access token", at="API")
    rows = person.at("API").locator("tbody tr").all_inner_texts()
    operations = {
        (method.upper(), path)
        for path, item in described["paths"].items()
        for method in item
        if method not in {"parameters", "head"}  # HEAD is GET without the body
    }
    assert closed
    assert {tuple(row.split("\t")[:2]) for row in rows} == operations
