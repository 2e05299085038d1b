"""A year of use, on the engine that is fast enough for it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from anonauth.tokens import Tokens
from support.contracts.store_contract import APP, DAY, NOW
from support.engine.racing import Service, a_subject
from support.service.rings import RingInMemory


@pytest.mark.long
@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
def test_given_an_early_and_a_late_device_when_a_year_passes_then_both_live(
    service: Service,
) -> None:
    """A use is noted only in its own session: other devices must not pay for it."""
    ring = RingInMemory()
    ring.rotate(NOW)
    service = replace(
        service,
        tokens=Tokens(
            ring.open(), app_ids=frozenset({APP}), access_lifetime=timedelta(minutes=30)
        ),
    )
    early = service.log_in()
    credential = {"token": a_subject()}
    service.link(early, "custom-token", credential)
    late = service.log_in_by("custom-token", credential)
    midnight = NOW.replace(hour=0)

    for day in range(1, 366):
        if not day % 30:
            ring.rotate(midnight + day * DAY)
        service.refresh(early, midnight + day * DAY + timedelta(minutes=1))
        service.refresh(late, midnight + day * DAY + timedelta(hours=23, minutes=59))

    user = service.store.get_user(early.user.app, early.user.id)
    assert user is not None
    assert set(user.sessions) == {early.session.id, late.session.id}
