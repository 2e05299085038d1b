"""Good tokens that were changed at random. The service accepts none of them.

It also refuses a token that says the same in another spelling. With the seed of a run,
as in `MUTATION_SEED=0c8e14a5`, the same changes are made at the same places. The keys
are new each time.
"""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from anonauth.errors import BadCredential, BadRequest, InvalidSession
from anonauth.issuers.fetch import Fetcher
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import CustomTokenSettings
from anonauth.providers.custom_token import CustomToken
from support.contracts.openapi_examples import TOKEN_OF_ROUTE, options_of
from support.forgery.custom_tokens import CLAIMS, ISSUER, verified
from support.forgery.key_server import Signer
from support.forgery.mutations import WAYS, Mutations
from support.forgery.own_tokens import NOW, OwnTokens
from support.hostile.dice import dice_of
from support.service.harness import APP, Deployment
from support.service.linked import log_in_linked

Record = Callable[[str, object], None]
Read = Callable[[str], object]

REFUSALS = (InvalidSession, BadCredential, BadRequest)


@pytest.fixture(params=["access", "refresh", "custom-token"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def good(kind: str) -> tuple[list[str], Read]:
    """Some good tokens of a kind, and what reads them."""
    if kind == "custom-token":
        signer = Signer()
        issuers = {"issuers": [{"issuer": ISSUER, "pem": signer.pem}]}
        settings = msgspec.convert(issuers, CustomTokenSettings)
        provider = CustomToken(APP, settings, KeySets(Fetcher()))
        tokens = [signer.sign(CLAIMS | {"sub": f"user-{n}"}) for n in range(3)]
        return tokens, lambda token: verified(provider, token)
    world = OwnTokens()
    if kind == "access":
        read = world.tokens.read_access_token
        return [world.access() for _ in range(3)], lambda token: read(token, NOW)
    refresh = world.tokens.read_refresh_token
    tokens = [world.refresh(jti=f"jti-{n}") for n in range(3)]
    return tokens, lambda token: refresh(token, NOW)


@pytest.mark.parametrize(
    "number",
    [1000, pytest.param(34_000, id="34,000 of each kind", marks=pytest.mark.long)],
)
def test_given_a_mutation_when_read_then_it_is_refused(
    kind: str,
    good: tuple[list[str], Read],
    number: int,
    record_property: Record,
) -> None:
    dice, seed = dice_of("MUTATION_SEED")
    record_property("seed", seed)
    tokens, read = good
    mutations = Mutations(tokens, dice)
    ways: Counter[str] = Counter()

    not_refused = []
    for _ in range(number):
        way, token = mutations.draw()
        ways[way] += 1
        if (outcome := outcome_of(read, token)) is not None:
            not_refused.append((way, outcome, token))

    assert not_refused == [], seed
    assert len(ways) == WAYS
    assert min(ways.values()) > number / WAYS / 8
    assert [outcome_of(read, token) for token in tokens] == ["taken"] * len(tokens)
    record_property(f"mutations of {kind} tokens, all refused", f"{number:,}")


def outcome_of(read: Read, token: str) -> str | None:
    """Return what came of a token if it was not refused."""
    try:
        read(token)
    except REFUSALS:
        return None
    except Exception as exc:  # noqa: BLE001 - a bug is told with its token
        return repr(exc)
    return "taken"


@pytest.mark.parametrize("number", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_given_a_mutation_when_calling_then_401_and_nothing_changes(
    service: Deployment, number: int, record_property: Record
) -> None:
    dice, seed = dice_of("MUTATION_SEED")
    record_property("seed", seed)
    users = [log_in_linked(service, name) for name in ("ada", "bob")]
    tokens = {
        kind: [user[f"{kind}_token"] for user in users]
        for kind in TOKEN_OF_ROUTE.values()
    }
    mutations = {kind: Mutations(good, dice) for kind, good in tokens.items()}
    before = service.items()

    other = []
    for _ in range(number):
        route, kind = dice.choice(list(TOKEN_OF_ROUTE.items()))
        way, token = mutations[kind].draw()
        if token.strip(" \t") in tokens[kind]:
            continue  # that is how a header may be written
        reply = service.send(route, token=token, **options_of(route))
        if (reply.status, reply.json["error_code"]) != (401, "InvalidSession"):
            other.append((route, way, reply.status, token))

    assert other == [], seed
    assert service.items() == before
