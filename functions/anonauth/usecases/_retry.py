"""The loop of a use case that reads, decides and writes."""

from collections.abc import Iterator

from anonauth.errors import StoreUnavailable


def decisions(most: int = 4) -> Iterator[None]:
    """Yield once per decision, then raise `StoreUnavailable`.

    A write holds only if the items are still as the use case has read them. If another
    request has changed them, the store writes nothing and returns False. The use case
    then reads and decides again:

        for _ in decisions():
            user, session = authenticator.to_delete(access_token, now)
            if users.delete_user(user, session, now):
                break

    The loop ends by `break`, `return` or an exception, so code after it runs only after
    a `break`. The limit makes the answer a 503. An endless loop would run into the
    time-out of the function.

    Args:
        most: How many decisions may lose against other requests.

    Raises:
        StoreUnavailable: Another request was faster each time. Nothing was written.
    """
    for _ in range(most):
        yield
    raise StoreUnavailable
