"""The table: items, the conditions on every write, and what an unclear outcome means.

The only importer of PynamoDB. design.md §4 has the data model; two rules run through
all
of this package:

- DynamoDB deletes expired items late, so every condition checks the expiry itself.
- A reply can be lost after the write took effect. The SDK would repeat the write
  and report its own success as a failed condition; so its retries are off, `Table`
  repeats calls itself, and only what a first attempt refuses counts as refused.
"""

from anonauth.store.accounts import AccountRecords
from anonauth.store.api_keys import ApiKeyRecords
from anonauth.store.changes import Changes
from anonauth.store.expiring import Expiring
from anonauth.store.overview import Overview
from anonauth.store.ring import Rings


class Store(AccountRecords, ApiKeyRecords, Changes, Expiring, Overview, Rings):
    """All that `ports` calls a store, on one DynamoDB table; see `Table`.

    Accounts and API keys are both built on identities, and those on users.
    """
