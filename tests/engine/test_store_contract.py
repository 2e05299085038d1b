"""The store's contracts, on engines that are no fakes of ours."""

from support.contracts.identity_contract import IdentityContract
from support.contracts.merge_contract import MergeContract
from support.contracts.overview_contract import OverviewContract
from support.contracts.restore_contract import RestoreContract
from support.contracts.store_contract import StoreContract


class TestStoreOnEngines(
    StoreContract,
    IdentityContract,
    MergeContract,
    OverviewContract,
    RestoreContract,
):
    """`conftest` provides `store`, on each engine."""
