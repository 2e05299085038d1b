"""What is in moto's AWS, to be read out and put back: moto itself keeps nothing."""

import base64
from collections.abc import Mapping
from typing import Any

from anonauth.cli.engine import TABLE_NAME
from anonauth.cli.journal import Remembered
from anonauth.cli.live_table import as_json
from anonauth.cli.template import ACCOUNT, REGION


def read_items() -> dict[str, Any]:
    """Return the table's items by their `pk`, in DynamoDB's JSON."""
    return {
        key.value: as_json(item.to_json()["Attributes"])
        for key, item in _table().items.items()
    }


def next_sequence() -> int:
    """Return the number that the next record of the table's stream has."""
    shard = _table().stream_shard
    return int(shard.starting_sequence_number) + len(shard.items)


def read_aws() -> dict[str, Any]:
    """Return the keys of KMS with what they encrypt by, and the parameters of SSM."""
    from moto.kms.models import kms_backends  # noqa: PLC0415 - see `engine`
    from moto.ssm.models import ssm_backends  # noqa: PLC0415

    parameters = ssm_backends[ACCOUNT][REGION]._parameters  # noqa: SLF001
    return {
        "keys": [
            {
                "id": key.id,
                "material": base64.b64encode(key.key_material).decode(),
                "aliases": sorted(key.aliases),
                "enabled": key.enabled,
                "state": key.key_state,
            }
            for key in kms_backends[ACCOUNT][REGION].keys.values()
            if key.key_spec == "SYMMETRIC_DEFAULT"
        ],
        "parameters": {
            name: {
                "type": versions[-1].parameter_type,
                "value": versions[-1].decrypt(versions[-1].value),
            }
            for name, versions in parameters.items()
            if versions and not name.startswith("/aws/")
        },
    }


def put_back(remembered: Remembered) -> None:
    """Put into a new table, and beside it, what was there before."""
    from moto.dynamodb.models.dynamo_type import DynamoType, Item  # noqa: PLC0415

    table = _table()
    for pk, attributes in remembered.items.items():
        key = DynamoType({"S": pk})
        own = {name: _as_moto(value) for name, value in attributes.items()}
        table.items[key] = Item(key, None, own)
    if remembered.sequence is not None:
        # Of a user's events the later has the larger number, restart or not.
        table.stream_shard.starting_sequence_number = remembered.sequence
    if remembered.aws:
        _put_keys(remembered.aws["keys"])
        _put_parameters(remembered.aws["parameters"])


def _as_moto(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attribute with its bytes as bytes, the reverse of `as_json`."""
    ((kind, value),) = attribute.items()
    match kind:
        case "B":
            value = base64.b64decode(value)
        case "BS":
            value = [base64.b64decode(each) for each in value]
        case "M":
            value = {name: _as_moto(each) for name, each in value.items()}
        case "L":
            value = [_as_moto(each) for each in value]
    return {kind: value}


def _put_keys(keys: list[Mapping[str, Any]]) -> None:
    from moto.kms.models import kms_backends  # noqa: PLC0415

    kms = kms_backends[ACCOUNT][REGION]
    for each in keys:
        key = kms.create_key(None, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "", None)
        del kms.keys[key.id]
        key.arn = key.arn.replace(key.id, each["id"])
        key.id = each["id"]
        key.key_material = base64.b64decode(each["material"])
        key.enabled, key.key_state = each["enabled"], each["state"]
        kms.keys[key.id] = key
        for alias in each["aliases"]:
            kms.delete_alias(alias)
            kms.create_alias(key.id, alias)


def _put_parameters(parameters: Mapping[str, Mapping[str, str]]) -> None:
    from moto.ssm.models import ssm_backends  # noqa: PLC0415

    for name, each in parameters.items():
        ssm_backends[ACCOUNT][REGION].put_parameter(
            name=name,
            description="",
            value=each["value"],
            parameter_type=each["type"],
            allowed_pattern="",
            keyid="",
            overwrite=True,
            tags=[],
            data_type="text",
            tier=None,
            policies=None,
        )


def _table() -> Any:
    from moto.dynamodb.models import dynamodb_backends  # noqa: PLC0415

    return dynamodb_backends[ACCOUNT][REGION].tables[TABLE_NAME]
