"""The names of the identity providers that this service treats apart.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

ANONYMOUS = "anon-user"
"""The provider of an anonymous identity, as routes and tokens spell it."""

USERPASS = "local-userpass"
"""The provider of an identity by e-mail and password."""

API_KEY = "api-key"
"""The provider of a session that was opened with an API key."""
