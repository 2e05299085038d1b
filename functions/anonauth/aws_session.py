"""The SDK's session of the functions, without what they do not need."""

from pathlib import Path

import botocore
from botocore.exceptions import UnknownRegionError
from botocore.handlers import BUILTIN_HANDLERS
from botocore.session import Session

AUTHORITIES = Path(botocore.__file__).parent / "amazon.pem"
"""The certificate authorities of Amazon Trust Services. Only the bundle has the file,
which `bundle/trim.py` makes."""


def make_session(region: str, *, authorities: Path = AUTHORITIES) -> Session:
    """Return a new session, which starts faster than the SDK's own.

    The SDK reads its 126 certificate authorities again for each connection, in 18 ms.
    In AWS's commercial regions all endpoints have certificates of Amazon's five
    (amazontrust.com/repository, "Trust store and pinning recommendations"). Elsewhere,
    and if `AWS_CA_BUNDLE` is set, the session trusts what the SDK trusts.

    Most of the SDK's 127 built-in handlers are for single services that no function
    calls. Registering them takes 6 ms. The SDK also looks for the 65 names that
    services had until 2018 in the name of each event, which takes 3 ms.
    """
    session = Session(include_builtin_handlers=False)
    session.get_component("event_emitter")._event_aliases = {}  # noqa: SLF001
    for event, handler, *_ in BUILTIN_HANDLERS:
        if "." not in event:  # for all services
            session.register(event, handler)
    is_configured = session.get_config_variable("ca_bundle") is not None
    if not is_configured and authorities.exists() and _is_commercial(session, region):
        session.set_config_variable("ca_bundle", str(authorities))
    return session


def _is_commercial(session: Session, region: str) -> bool:
    try:
        return session.get_partition_for_region(region) == "aws"
    except UnknownRegionError:
        return False
