"""The store's contract on engines that are no fakes of ours."""

from identity_contract import IdentityContract
from store_contract import StoreContract


class TestStoreOnEngines(StoreContract, IdentityContract):
    """`conftest` provides `store`, on each engine."""
