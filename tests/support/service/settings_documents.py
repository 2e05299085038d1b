"""Provider settings with all providers on."""

import json
from typing import Any

from support.service.harness import APP, SENDER

SECRET = "2k66QfKeTRk3MdZ5vpDYgZCu" * 2  # of realm-web's integration tests
MAIL = {
    "sender": "My App <no-reply@app.example>",
    "confirm_url": "https://app.example/confirm",
    "reset_url": "myapp:///reset",
}
ISSUER = {"issuer": "https://issuer.example", "jwks_url": "https://issuer.example/jwks"}
ALL_PROVIDERS = {
    "local-userpass": {"min_password_length": 8, "mail": MAIL},
    "api-key": {},
    "custom-token": {"issuers": [ISSUER]},
    "oauth2-google": {"client_ids": ["a.apps.example"], "client_secret": SECRET},
    "oauth2-apple": {"client_ids": ["com.example.app"]},
    "oauth2-facebook": {"app_id": "1234", "app_secret": SECRET},
}
"""The settings of one app with all providers on."""


UNREACHABLE = "https://127.0.0.1:9"  # no server is there
UNREACHABLE_PROVIDERS: dict[str, Any] = {
    "apps": {
        APP: {
            "local-userpass": {
                "mail": {
                    "sender": SENDER,
                    "confirm_url": "https://example.com/confirm",
                    "reset_url": "https://example.com/reset",
                },
                "budgets": {"mails": 1000, "network": 1000},
            },
            "api-key": {},
            "custom-token": {"issuers": [{"algorithm": "HS256", "secret": "s" * 32}]},
            "oauth2-google": {
                "client_ids": ["web"],
                "client_secret": "secret",
                "redirect_uri": "https://example.com/",
                "jwks_url": UNREACHABLE,
                "token_url": UNREACHABLE,
            },
            "oauth2-apple": {"client_ids": ["com.example"], "jwks_url": UNREACHABLE},
            "oauth2-facebook": {
                "app_id": "1",
                "app_secret": "secret",
                "graph_url": UNREACHABLE,
                "jwks_url": UNREACHABLE,
            },
        }
    }
}
"""A document with all providers on. Their key sets and tokens cannot be fetched."""


def document(app: Any, name: str = APP) -> str:
    """Return the text of a document with the settings of one app."""
    return json.dumps({"apps": {name: app}})
