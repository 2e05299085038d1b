from support.forgery.fixtures import fetcher, key_sets, server, signer, stranger

__all__ = ["fetcher", "key_sets", "server", "signer", "stranger"]
