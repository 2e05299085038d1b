"""A table that already has many users.

dynoxide reads a file of a million items in half a minute, in the form of DynamoDB's own
export to S3. BatchWriteItem would take three minutes.
"""

import base64
import gzip
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from anonauth.wiring import utc_now
from bench.meter import Meter
from bench.operations import People
from bench.stage import APP, Stage
from support.engine import engines
from support.project import sam_template
from support.project.sam_template import Json
from support.project.tools import require_tool

TABLE = "anonauth-crowd"

_ATTEMPTS = 6000  # 50 ms apart: five minutes


@contextmanager
def crowded(
    stage: Stage, people: People, users: int, *, ending_every: int = 0
) -> Iterator[Stage]:
    """Serve a table of this many guests, with the stage's own key ring.

    Args:
        ending_every: One guest in so many expires tomorrow; 0 for none.
    """
    directory = stage.directory / f"crowd-{users}"
    data = directory / "export" / TABLE / "data"
    data.mkdir(parents=True)
    user_id = people.guest()["user_id"]
    _write(data / "items.json.gz", stage, user_id, users, ending_every)
    made = sam_template.load()["Resources"]["Table"]["Properties"]
    schema = {
        "TableName": TABLE,
        "KeySchema": made["KeySchema"],
        "AttributeDefinitions": made["AttributeDefinitions"],
        "BillingModeSummary": {"BillingMode": made["BillingMode"]},
    }
    (directory / "schema.json").write_text(json.dumps({"Table": schema}))
    port = engines.free_port()
    command: list[str | Path] = [
        *(require_tool("dynoxide"), "import", "--serve", "--port", str(port)),
        *("--source", "export", "--schema", "schema.json"),
    ]
    with (
        engines.serving(
            "dynoxide", port, command, {}, directory, attempts=_ATTEMPTS
        ) as engine,
        Meter(engine.endpoint_url) as meter,
    ):
        yield replace(stage, engine=engine, table=TABLE, meter=meter)


def _write(
    path: Path, stage: Stage, user_id: str, users: int, ending_every: int
) -> None:
    ring = _item(stage, "KEY#ring")
    guest = _item(stage, f"USER#{APP}#{user_id}")
    tomorrow = {"N": str(int((utc_now() + timedelta(days=1)).timestamp()))}
    ending = guest | {"expires_at": tomorrow, "ttl": tomorrow}
    # All items are alike except for their ids, which are random like those of users.
    usual, other = (json.dumps({"Item": each}) for each in (guest, ending))
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(json.dumps({"Item": ring}) + "\n")
        for number in range(1, users + 1):
            is_ending = ending_every and number % ending_every == 0
            before, after = (other if is_ending else usual).split(user_id)
            file.write(f"{before}{secrets.token_hex(12)}{after}\n")


def _item(stage: Stage, pk: str) -> Json:
    db = stage.engine.db
    found = db.get_item(TableName=stage.table, Key={"pk": {"S": pk}})
    item: Json = json.loads(json.dumps(found["Item"], default=_base64))
    return item


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()
