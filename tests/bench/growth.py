"""Growth: operations in a table of more users, and of a user with more parts."""

from bench.stage import Stage
from sam_template import Json

MOST_USERS = 1_000_000


def measure(stage: Stage, users: int) -> Json:
    """Return seconds of operations by what has grown."""
    del stage, users
    return {}
