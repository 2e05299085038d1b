"""The stage of the model: three apps, and what only AWS does or sees."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from anonauth.local.dynamodb.live_table import LiveTable
from support.model.model import MOST_IN_A_ROW, MOST_MAILS, MOST_WRONG_PASSWORDS
from support.model.table import Items
from support.model.world import API_KEY, CUSTOM, USERPASS, App
from support.service.harness import (
    APP,
    CREATE_KEY,
    END_SESSION,
    GET_KEY,
    LINK,
    LOGIN,
    LOGOUT,
    OTHER_APP,
    SENDER,
    SETTINGS,
    START,
    UNLINK,
    Deployment,
    make_table,
)
from support.service.story import as_event

BARE_APP = "bare-klmno"
WITH_MAIL = App(APP, (USERPASS, CUSTOM, API_KEY), mail=True)
WITHOUT_MAIL = App(OTHER_APP, (USERPASS, CUSTOM, API_KEY))
BARE = App(BARE_APP)  # an app that has only guests
NOTICE_DAYS = "14,3"
SECOND_ISSUER = "https://second.example"  # the first has no name
SECRETS = {"": "0" * 32, SECOND_ISSUER: "2" * 32}
NOBODYS_SECRET = "1" * 32

_ISSUERS = [
    {
        "algorithm": "HS256",
        "secret": secret,
        "metadata_fields": [{"name": "name"}],
        **({"issuer": issuer} if issuer else {}),
    }
    for issuer, secret in SECRETS.items()
]
_PROVIDERS: dict[str, Any] = {API_KEY: {}, CUSTOM: {"issuers": _ISSUERS}}
_BUDGETS = {
    "account_and_network": MOST_WRONG_PASSWORDS,
    "consecutive": MOST_IN_A_ROW,
    "mails": MOST_MAILS,
}
_MAIL = {
    "sender": SENDER,
    "confirm_url": "https://app.example/confirm",
    "reset_url": "https://app.example/reset",
}
DOCUMENT = {
    "apps": {
        APP: {**_PROVIDERS, USERPASS: {"budgets": _BUDGETS, "mail": _MAIL}},
        OTHER_APP: {**_PROVIDERS, USERPASS: {"budgets": _BUDGETS}},
    }
}


class Stage:
    """The service, reset for each run, and what only AWS does or sees."""

    def __init__(self, service: Deployment, sent: list[Any]) -> None:
        self.service = service
        self.sent = sent
        self.runs = 0
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.came_back: Counter[str] = Counter()
        self.pushed_out = 0  # former ids of users that had too many
        self._ring = service.items("KEY#")["KEY#ring"]
        service.restart_with(DOCUMENT)  # leaves it in the state the next runs expect

    def clear(self) -> None:
        """Return to the start: no users, no mails, and the first key ring."""
        self.runs += 1
        del self.sent[:]
        self.service.db.delete_table(TableName=self.service.table)
        make_table(self.service.db, self.service.table, has_stream=False)
        self.service.db.put_item(TableName=self.service.table, Item=self._ring)
        self.service.now = START
        self.service.wire.reset()
        self.start_cold()

    def start_cold(self) -> None:
        self.service.restart(
            APP_IDS=",".join(app.id for app in (WITH_MAIL, WITHOUT_MAIL, BARE)),
            EXPIRY_NOTICE_DAYS=NOTICE_DAYS,
            SETTINGS_PARAMETER=SETTINGS,
        )

    def warned(self) -> list[dict[str, Any]]:
        """Run the daily search for expiring users; return its events."""
        return self._published("ExpiringFunction", {"detail-type": "Scheduled"})

    def told_of_merge(self, guest: Mapping[str, Any]) -> dict[str, Any]:
        """Pass on that the item of a merged guest is gone; return the event."""
        change = {
            "ApproximateCreationDateTime": int(self.service.now.timestamp()),
            "Keys": {"pk": guest["pk"]},
            "OldImage": guest,
            "SequenceNumber": "1",
        }
        record = {"eventID": "1", "eventName": "REMOVE", "dynamodb": change}
        (detail,) = self._published("LifecycleFunction", {"Records": [record]})
        return detail

    def _published(self, function: str, event: dict[str, Any]) -> list[dict[str, Any]]:
        wire = self.service.wire
        wire.reset()
        self.service.invoke(function, event)
        return [
            as_event(entry)["detail"]
            for call, body in zip(wire.calls, wire.bodies, strict=True)
            if call == "PutEvents"
            for entry in body["Entries"]
        ]

    def figures(self) -> str:
        """Return how many calls were answered, and in how many ways."""
        refused = sum(n for (*_, code), n in self.answers.items() if code != "done")
        return (
            f"{self.answers.total()} calls, {refused} refused; "
            f"{len(self.answers)} pairs of a route and an answer"
        )

    def assert_not_vacuous(self) -> None:
        """Fail unless nearly all calls succeeded once, and the worst were refused."""
        done = {route for route, status, _ in self.answers if status == 200}
        # There are 20. Few runs ask for a second confirm mail while the first counts.
        assert len(done) >= 19, sorted(done)
        worst = {
            (LOGIN, 409, "LoginKeySpent"),
            (LINK, 409, "AccountNameInUse"),
            (LINK, 400, "BadRequest"),
            (LINK, 400, "UserAppDomainMismatch"),
            (LINK, 400, "InternalServerError"),
            (LINK, 403, "InvalidPassword"),
            (LOGOUT, 400, "BadRequest"),
            (LOGOUT, 403, "AuthError"),
            (END_SESSION, 403, "AuthError"),
            (END_SESSION, 404, "SessionNotFound"),
            (UNLINK, 404, "IdentityNotFound"),
            (GET_KEY, 404, "APIKeyNotFound"),
            (CREATE_KEY, 403, "AuthError"),
        }
        assert not worst - self.answers.keys(), worst - self.answers.keys()
        # Ways back to users whose item was lost.
        ways_back = {"login", "another login", "reset"}
        assert not ways_back - self.came_back.keys(), self.came_back
        assert self.pushed_out

    def sweep(self) -> None:
        """Delete the items that the table's TTL would have deleted by now."""
        # Made again: without a stream it knows only items from before it was made.
        service = self.service
        LiveTable(service.table, None, lambda: service.now).sweep()

    def items(self) -> Items:
        """Return the table's items, read from behind moto's API.

        Reading them through the API would take as long as the rest of a step.
        """
        region = dynamodb_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"]
        items: dict[Any, Any] = region.tables[self.service.table].items
        return {key.value: item.to_json()["Attributes"] for key, item in items.items()}
