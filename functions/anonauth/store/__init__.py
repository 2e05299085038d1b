"""The DynamoDB table: its items, and the conditions on every write.

Only this package imports PynamoDB. design.md §4 has the data model. Two rules hold in
the whole package:

- DynamoDB deletes expired items late, so every condition checks the expiry itself.
- A reply can be lost after the write took effect. The SDK would repeat the write
  and report its own success as a failed condition. So the SDK's retries are off, and
  `Table` repeats calls itself. It knows whether a refusal may be due to its own write.
"""

from anonauth.store.accounts import AccountRecords
from anonauth.store.api_keys import ApiKeyRecords
from anonauth.store.changes import Changes
from anonauth.store.expiring import Expiring
from anonauth.store.login_keys import LoginKeys
from anonauth.store.merges import Merges
from anonauth.store.overview import Overview
from anonauth.store.restoring import Restoring
from anonauth.store.ring import Rings


class Store(
    AccountRecords,
    ApiKeyRecords,
    Changes,
    Expiring,
    LoginKeys,
    Merges,
    Overview,
    Restoring,
    Rings,
):
    """Every store of `ports`, on one DynamoDB table; see `Table`.

    Accounts and API keys are both built on identities, and those on users.
    """
