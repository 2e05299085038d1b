"""Schedule: warn of anonymous users that will soon expire."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anonauth import wiring
from anonauth.handlers._http import logger
from anonauth.usecases.expiring import warn_of_expiry

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# What is left of its time when the function begins no further page: one can have some
# 2,000 users to warn, in 200 calls.
_RESERVE = 90_000  # milliseconds


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(_event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Go on with today's scan; return how far it came.

    Raises:
        AuthError: Lambda repeats it, and the schedule does each hour.
    """
    services = wiring.services()
    report = asdict(
        warn_of_expiry(
            users=services.store,
            bus=services.bus,
            notice_days=services.settings.expiry_notice_days,
            now=services.clock(),
            pause=services.pause,
            has_time=lambda: context.get_remaining_time_in_millis() > _RESERVE,
        )
    )
    report["day"] = report["day"].isoformat()
    logger.info("expiry scan", extra=report)
    return report
