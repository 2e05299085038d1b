"""Daily schedule and custom resource of CloudFormation: rotate the key ring."""

from typing import TYPE_CHECKING, Any

from anonauth import wiring
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.handlers._cloudformation import answer_custom_resource
from anonauth.handlers._http import logger
from anonauth.usecases.key_ring import KeyRotation, signing_key_age

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_PERMISSION_PAUSES = (2, 4, 8, 16)
"""Seconds between attempts of a deployment whose role may not do anything yet."""


def rotate() -> dict[str, Any]:
    """Bring the ring up to date. Return its version and the public ids of its keys."""
    services = wiring.services()
    now = services.clock()
    ring = KeyRotation(services.store, services.key_maker).rotate(now)
    age = signing_key_age(ring, now)
    if age is not None:  # a missing metric sets off an alarm
        services.metrics.gauge("SigningKeyAgeDays", age.days)
    logger.info("key ring", version=ring.version, kids=[key.kid for key in ring.keys])
    return {"version": ring.version, "kids": [key.kid for key in ring.keys]}


def rotate_once_permitted() -> dict[str, Any]:
    """Do the same for a stack that waits, and repeat it while access is denied.

    IAM needs some seconds until every service knows the role of a new stack. The
    deployment would otherwise fail and be rolled back.
    Source: AWS IAM User Guide, "Changes that I make are not always immediately
    visible".
    """
    for seconds in _PERMISSION_PAUSES:
        try:
            return rotate()
        except (KeysUnavailable, StoreUnavailable) as exc:
            if not _is_denied(exc):
                raise
        logger.warning("access is denied, and IAM may not be ready yet")
        wiring.services().pause(seconds)
    return rotate()


def _is_denied(failure: BaseException | None) -> bool:
    # The SDK's error is below one of PynamoDB, which names it as the context only.
    while failure is not None:
        response = getattr(failure, "response", None) or {}
        if response.get("Error", {}).get("Code") == "AccessDeniedException":
            return True
        failure = failure.__cause__ or failure.__context__
    return False


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Rotate the keys, and report to CloudFormation if a stack waits for it.

    Raises:
        AuthError: The rotation failed on its schedule. Lambda counts it and retries.
            A custom resource is answered instead.
    """
    if "ResponseURL" in event:
        return answer_custom_resource(
            event,
            context,
            rotate_once_permitted,
            pause=lambda seconds: wiring.services().pause(seconds),
        )
    return rotate()
