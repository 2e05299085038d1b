"""Schedule: warn of anonymous users that will soon expire."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anonauth import wiring
from anonauth.domain.expiry import utc_day
from anonauth.handlers._http import logger
from anonauth.usecases.expiring import ExpiryWarnings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# With less time left than this, the function begins no further page. A page can have
# some 2,000 users to warn, in 200 calls.
_RESERVE = 90_000  # milliseconds


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(_event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Continue today's scan. Return how far it has come.

    Raises:
        AuthError: The scan stopped. Lambda retries, and so does the schedule.
    """
    services = wiring.services()
    warnings = ExpiryWarnings(
        users=services.store,
        bus=services.bus,
        notice_days=services.settings.expiry_notice_days,
        stack=services.settings.stack_name,
        pause=services.pause,
    )
    now = services.clock()
    scan = warnings.publish_due(
        now,
        has_time=lambda: context.get_remaining_time_in_millis() > _RESERVE,
    )
    days_late = (utc_day(now) - scan.day).days
    if days_late:  # a metric is billed for each hour in which it is sent
        services.metrics.gauge("ExpiryScanDaysLate", days_late)
    report = {**asdict(scan), "day": scan.day.isoformat()}
    logger.info("expiry scan", extra=report)
    return report
