"""The body of an error, which is the same for all routes (client-api.md §1)."""

import re

from support.service.harness import HOST, Reply


def is_contract_error(reply: Reply) -> bool:
    """Tell whether an error has its content type, three texts, and a link for SDKs."""
    body = reply.json
    return (
        reply.headers["content-type"] == "application/json"
        and set(body) == {"error", "error_code", "link"}
        and all(isinstance(value, str) and value for value in body.values())
        and re.fullmatch(rf"https://{HOST}/logs\?co_id=[0-9a-f]{{32}}", body["link"])
        is not None
    )
