"""The settings document: whatever stands there, it is good or its fault is named."""

import copy
import json
from collections.abc import Callable

import pytest

from anonauth.provider_settings.document import (
    DocumentError,
    parse,
    references,
    resolve,
)
from support.hostile.fuzzing import HOSTILE, Body, Mutator, new_seed, timely
from support.hostile.routes import Caller
from support.service.harness import LINK, Deployment
from support.service.settings_documents import ALL_PROVIDERS, SECRET, document

Record = Callable[[str, object], None]

GOOD = json.loads(document(copy.deepcopy(ALL_PROVIDERS)))
GOOD["apps"]["*"] = {
    "anon-user": {
        "challenge": {
            "verify_url": "https://a.example/verify",
            "secret": {"ssm": "challenge"},
            "hostnames": ["www.example.com"],
            "min_score": 0.5,
        }
    },
    "custom-token": {
        "issuers": [
            {
                "issuer": "https://b.example",
                "algorithm": "HS256",
                "secret": {"ssm": "jwt"},
                "audience": ["a"],
                "metadata_fields": [{"name": "a.b", "field_name": "c"}],
            },
            {"openid_configuration": "https://c.example/configuration"},
        ]
    },
}
SECRETS = {"challenge": SECRET, "jwt": SECRET}


def fault_of(text: str) -> str | None:
    try:
        resolve(parse(text), SECRETS)
    except DocumentError as fault:
        return str(fault)
    return None


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_given_a_hostile_document_when_read_then_its_fault_is_named_within_50_ms(
    make: Callable[[Body], bytes],
) -> None:
    text = make(GOOD).decode("utf-8", errors="surrogateescape")

    assert timely(lambda: fault_of(text))


@pytest.mark.parametrize("times", [500, pytest.param(20_000, marks=pytest.mark.long)])
def test_given_a_document_when_changed_then_it_is_good_or_its_fault_is_named(
    times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    record_property("seed", told)
    mutator, taken = Mutator(seed), 0

    for number in range(times):
        text = json.dumps(mutator.value(GOOD))
        if number % 4 == 0:
            text = mutator.text(json.dumps(GOOD).encode()).decode(errors="replace")
        fault = timely(lambda: fault_of(text))  # noqa: B023
        # The log has it: what it says must not be what stands there.
        assert fault is None or (fault and SECRET not in fault), told
        taken += fault is None

    record_property("documents", f"{times}, of which {taken} are good")
    assert 0 < taken < times / 2


def test_given_the_good_document_when_read_then_it_is_good() -> None:
    assert fault_of(json.dumps(GOOD)) is None
    assert set(references(parse(json.dumps(GOOD))).values()) == set(SECRETS)


@pytest.mark.long
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_given_a_hostile_document_when_in_ssm_then_logins_by_provider_are_503(
    service: Deployment, make: Callable[[Body], bytes]
) -> None:
    text = make(GOOD)[:4_096].decode("utf-8", errors="replace").replace("\0", "\ufffd")
    caller = Caller(service)
    service.restart_with(text)

    reply = timely(caller.request(LINK, b'{"key":"a"}', name="api-key"))

    assert reply.status == 503
    assert reply.headers["retry-after"] == "2"
