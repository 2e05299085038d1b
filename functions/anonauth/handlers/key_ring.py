"""Daily schedule and custom resource of CloudFormation: rotate the key ring."""

from typing import TYPE_CHECKING, Any

from anonauth import wiring
from anonauth.handlers._cloudformation import answer_custom_resource
from anonauth.handlers._http import logger
from anonauth.usecases.key_ring import KeyRotation, signing_key_age

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


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


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Rotate the keys, and report to CloudFormation if a stack waits for it.

    Raises:
        AuthError: The rotation failed on its schedule. Lambda counts it and retries.
            A custom resource is answered instead.
    """
    if "ResponseURL" in event:
        return answer_custom_resource(event, context, rotate)
    return rotate()
