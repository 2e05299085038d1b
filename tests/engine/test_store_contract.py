"""The store's contract on engines that are no fakes of ours."""

from store_contract import StoreContract


class TestStoreOnEngines(StoreContract):
    """`conftest` provides `store`, on each engine."""
