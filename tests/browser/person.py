"""A person at a real browser, who presses buttons and reads the page."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from support.project.tools import ROOT, require_tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

STEPS, LAST = "Try this, in order", "Last call"

ARTEFACTS = ROOT / ".artefacts"
"""Screenshots to look at after a run; ignored by git."""

# The browser's own message about an answer such as 401. It is no fault of the page.
_STATUS = re.compile(r"Failed to load resource: the server responded with a status")

_WATCH = """
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

_FOCUS = """() => {
    const at = document.activeElement;
    const words = at.labels?.[0]?.textContent ?? at.textContent;
    const region = at.closest("section")?.querySelector("h2")?.textContent ?? "";
    return [at.tagName, words.trim().slice(0, 40), region];
}"""


class Person:
    """One open page of a service. Its timeouts are limits, never waited out."""

    def __init__(self, browser: "Browser", url: str, **look: Any) -> None:
        self.url = url
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.calls = 0
        self._context = browser.new_context(**look)
        self._context.set_default_timeout(10_000)
        self.page = self._context.new_page()
        self.page.add_init_script(_WATCH)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._note_host(request.url))
        self.page.goto(url)
        self.reads("Nobody is signed in.", at="Device 2")

    def close(self) -> None:
        """Close the page; fail if it has logged an error or stored too much."""
        stored = "[Object.keys(localStorage), sessionStorage.length, document.cookie]"
        names, *rest = self.page.evaluate(stored)
        violations = self.page.evaluate("window.violations")
        self._context.close()
        assert self.faults == []
        assert violations == []
        assert {name.split(":")[0] for name in names} == {"anonauth-playground"}
        assert rest == [0, ""]
        assert self.hosts == {urlsplit(self.url).netloc}

    def allow_copying(self) -> None:
        """Allow the page to read the clipboard, as a paste does."""
        self._context.grant_permissions(["clipboard-read", "clipboard-write"])

    def at(self, place: str) -> "Locator":
        """Return the part of the page under a heading."""
        return self.page.get_by_role("region", name=place, exact=True)

    def button(self, words: str, at: str) -> "Locator":
        """Return the button with this label."""
        return self.at(at).get_by_role("button", name=words, exact=True)

    def press(self, words: str, at: str) -> None:
        """Press a button that makes a call, and wait for the answer in the list."""
        self.tap(words, at)
        self.sees_call()

    def tap(self, words: str, at: str) -> None:
        """Press a button that makes no call."""
        self.button(words, at).click()

    def comes_back(self, reload: Callable[[], object], calls: int = 1) -> None:
        """Reload the page, which makes calls of its own for users that it has kept."""
        with self.page.expect_navigation():
            reload()
        self.calls = 0
        for _ in range(calls):
            self.sees_call()

    def press_key(self, words: str, at: str, key: str = "Enter") -> None:
        """Press the same button with the keyboard."""
        self.type_key(words, at, key)
        self.sees_call()

    def type_key(self, words: str, at: str, key: str = "Enter") -> None:
        """Press a button that makes no call with the keyboard."""
        self.tab_to(words, at)
        self.page.keyboard.press(key)

    def tab_to(self, words: str, at: str, key: str = "Tab") -> None:
        """Press Tab until an element has the focus.

        Raises:
            AssertionError: The element cannot be reached this way.
        """
        passed = []
        for _ in range(200):
            self.page.keyboard.press(key)
            passed.append(self.focus())
            if passed[-1][1:] == [words, at]:
                return
        raise AssertionError(f"{words}, {at} is not among {passed}")

    def focus(self) -> list[str]:
        """Return tag, text and section of the element with the focus."""
        focus: list[str] = self.page.evaluate(_FOCUS)
        return focus

    def sees_call(self) -> None:
        """Wait until another call is listed."""
        self.calls += 1
        heading = re.compile(rf"^{self.calls}\. ")
        self.at("Calls").get_by_role("heading", name=heading).wait_for()

    def reads(self, words: str, at: str) -> None:
        """Wait until a text is shown."""
        self.at(at).get_by_text(words).first.wait_for()

    def user_id(self, device: str) -> str:
        """Return the user id that a device shows, and wait for it.

        The page lists a call before it shows the result.
        """
        shown = self.at(device).locator("dd code")
        shown = shown.filter(has_text=re.compile("^[0-9a-f]{24}$")).first
        return str(shown.inner_text())

    def copied(self, number: int) -> str:
        """Press a call's Copy button and return the clipboard's text."""
        self.button(f"Copy call {number}", "Calls").click()
        self.reads(f"Copied call {number} for", at=LAST)
        return str(self.page.evaluate("navigator.clipboard.readText()"))

    def axe_findings(self) -> list[tuple[str, Any, str]]:
        """Return what axe finds wrong: rule, element and reason."""
        self.page.evaluate(require_tool("axe-core").read_text())
        result = self.page.evaluate("axe.run()")
        assert len(result["passes"]) > 20
        return [
            (rule["id"], node["target"], node["failureSummary"])
            for rule in result["violations"]
            for node in rule["nodes"]
        ]

    def is_off(self, words: str, at: str) -> bool:
        """Return whether a button is marked as disabled."""
        return bool(self.button(words, at).get_attribute("aria-disabled") == "true")

    def draw(self, name: str) -> Path:
        """Store a screenshot of the whole page."""
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=path, full_page=True)
        return path

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"} and not _STATUS.match(message.text):
            self.faults.append(message.text)

    def _note_host(self, url: str) -> None:
        self.hosts.add(urlsplit(url).netloc)
