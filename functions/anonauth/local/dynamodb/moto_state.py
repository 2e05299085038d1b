"""Reads and restores the state of moto, which itself keeps nothing across restarts."""

import base64
import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from anonauth.local.aws import TABLE_NAME
from anonauth.local.journal import SavedState
from anonauth.local.template import ACCOUNT, REGION


def is_empty() -> bool:
    """Return whether the table has no items."""
    return not _moto_table().items


def read_aws() -> dict[str, Any]:
    """Return the keys of KMS with their key material, and the parameters of SSM."""
    from moto.kms.models import kms_backends  # noqa: PLC0415 - see `moto_table`
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


def restore_state(saved: SavedState) -> None:
    """Restore the saved items in a new table, and the keys and parameters beside it."""
    from moto.dynamodb.models.dynamo_type import DynamoType, Item  # noqa: PLC0415

    table = _moto_table()
    with _without_garbage():
        for pk, text in saved.items.items():
            item = Item(DynamoType({"S": pk}), None, {})
            for name, value in json.loads(text).items():
                # moto's own way to set an attribute adds up all sizes each time.
                dict.__setitem__(item.attrs, name, DynamoType(_as_moto(value)))
            table.items[item.hash_key] = item
    if saved.sequence is not None:
        # The later event of a user must have the larger number, also after a restart.
        table.stream_shard.starting_sequence_number = saved.sequence
    if saved.aws:
        _put_keys(saved.aws["keys"])
        _put_parameters(saved.aws["parameters"])


def delete_parameters(aws: Mapping[str, Any]) -> None:
    """Delete the restored parameters, so that the next service does not find them.

    Moto forgets nothing while other code in this process mocks AWS too.

    Args:
        aws: As in `SavedState`, empty if nothing was restored.
    """
    from moto.ssm.models import ssm_backends  # noqa: PLC0415

    names = list(aws.get("parameters", ()))
    ssm_backends[ACCOUNT][REGION].delete_parameters(names)


@contextmanager
def _without_garbage() -> Iterator[None]:
    """Context manager: no garbage collection while lasting objects are made.

    This halves the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _as_moto(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attribute with its Base64 values decoded to bytes."""
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


def _moto_table() -> Any:
    from moto.dynamodb.models import dynamodb_backends  # noqa: PLC0415

    return dynamodb_backends[ACCOUNT][REGION].tables[TABLE_NAME]
