"""Records of the table's stream: told in order, or left for Lambda to give again."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from anonauth.local.dynamodb.live_table import Record
from support.hostile.fuzzing import Mutator, new_seed
from support.service.harness import DELETE, SESSION, Deployment
from support.service.linked import link, open_session
from support.service.story import Story


@pytest.fixture
def records(service: Deployment) -> list[Record]:
    """The life of a user, in six records or more."""
    story = Story(service)
    body = service.log_in()
    link(service, body, "custom-token", "ada")
    open_session(service, body["user_id"], "custom-token", "ada")
    service.send(SESSION, token=body["refresh_token"])
    service.send(DELETE, token=body["access_token"])
    service.log_in()
    found = story.records()
    assert len(found) >= 5
    return found


def tell(story: Story, records: list[Any]) -> int:
    """Return how many records of a batch count as done."""
    try:
        answer = story.tell(records)
    except BatchProcessingError:
        return 0
    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    assert failed == numbers[len(numbers) - len(failed) :]
    return len(records) - len(failed)


@pytest.mark.parametrize("times", [150, pytest.param(3_000, marks=pytest.mark.long)])
def test_given_a_record_when_its_images_are_changed_then_it_is_told_or_left(
    service: Deployment,
    records: list[Record],
    times: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Nothing but images is ours: the envelope is as AWS makes it."""
    seed, told = new_seed()
    record_property("seed", told)
    mutator, story, left = Mutator(seed), Story(service), 0

    for number in range(times):
        place = number % len(records)
        batch: list[Any] = [*records]
        images = {
            name: image
            for name, image in batch[place]["dynamodb"].items()
            if name.endswith("Image")
        }
        changed = mutator.value(images)
        if not isinstance(changed, dict):
            continue
        kept = {k: v for k, v in batch[place]["dynamodb"].items() if k not in images}
        stream = {**kept, **{k: v for k, v in changed.items() if k in images}}
        batch[place] = {**batch[place], "dynamodb": stream}
        service.wire.reset()
        try:
            done = tell(story, batch)
        except Exception as exc:
            raise AssertionError(f"{told}: {stream}") from exc
        # What came before it was told, and nothing of it is held up.
        assert done >= place, (told, stream)
        left += done == place

    record_property("records", f"{times} changed, {left} of them left")
    assert times / 10 < left < times
