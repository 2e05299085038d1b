"""The store's contract on engines that are no fakes of ours."""

from identity_contract import IdentityContract
from overview_contract import OverviewContract
from store_contract import StoreContract


class TestStoreOnEngines(StoreContract, IdentityContract, OverviewContract):
    """`conftest` provides `store`, on each engine."""
