"""The store reads what a later minor version has written, after it was rolled back."""

from collections.abc import Iterator
from typing import Any

import pytest

from anonauth.store.items import user_in
from support.contracts.identity_contract import IdentityContract, an_account
from support.contracts.merge_contract import MergeContract
from support.contracts.overview_contract import OverviewContract
from support.contracts.restore_contract import RestoreContract
from support.contracts.store_contract import APP, NOW, StoreContract
from support.service.harness import Deployment
from support.service.later_version import later, with_later_attributes
from support.service.linked import log_in_linked
from support.service.wire import Wire


@pytest.fixture
def later_items(clients: Any) -> Iterator[Wire]:
    """Each item that the store reads has attributes that it does not know."""
    clients.wire.always = with_later_attributes
    yield clients.wire
    clients.wire.reset()


@pytest.mark.long
@pytest.mark.usefixtures("later_items")
class TestStoreAfterALaterVersion(
    StoreContract, IdentityContract, MergeContract, OverviewContract, RestoreContract
):
    """The contract, whatever else is in the items."""


@pytest.mark.usefixtures("later_items")
def test_given_an_account_with_unknown_attributes_when_read_then_they_do_not_matter(
    store: Any,
) -> None:
    account = an_account()
    assert store.register(account, NOW)

    found, _ = store.get_account_and_counts(APP, account.key, [])

    assert found == account


def test_given_a_streamed_user_with_unknown_attributes_when_read_then_it_is_the_same(
    service: Deployment,
) -> None:
    """Lifecycle reads users as the table's stream has them."""
    linked = log_in_linked(service)
    item = service.user_item(linked["user_id"])
    assert item is not None

    read = [user_in(each, each["pk"]["S"]) for each in (item, later(item))]

    assert read[0] == read[1]
