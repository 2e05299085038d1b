import json
from collections.abc import Callable

import pytest

from support.service.fixtures import answering, server

__all__ = ["answering", "server"]


@pytest.fixture
def refusing(answering: Callable[[int, str], str]) -> str:
    """An AWS that refuses every call."""
    body = {
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "Message": "User: ada is not authorized to perform: it\nat all",
    }
    return answering(400, json.dumps(body))
