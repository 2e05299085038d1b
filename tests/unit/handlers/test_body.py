"""Bodies of strangers: what is taken, and what is refused in which words."""

import base64
import json
from typing import Any

import pytest

from anonauth.domain.users import NO_DEVICE, Device
from anonauth.errors import BadRequest
from anonauth.handlers._body import (
    parse_body,
    parse_device,
)
from support.hostile.bodies import BAD_BODIES, WRONG_TYPES, nested, padded

DEVICE_ID = "5f0c3b2a1d9e8f7a6b5c4d3e"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(None, {}, id="absent"),
        pytest.param("", {}, id="empty"),
        pytest.param("{}", {}, id="empty object"),
        pytest.param(" \r\n{} \t\n", {}, id="blanks around it"),
        pytest.param(
            '{"a":{"$numberInt":"5"}}', {"a": {"$numberInt": "5"}}, id="ejson"
        ),
        pytest.param('{"ä":"\\u00fc\U0001f600"}', {"ä": "ü\U0001f600"}, id="unicode"),
        pytest.param('{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}, id="escaped pair"),
        pytest.param(nested(16), json.loads(nested(16)), id="16 levels"),
        pytest.param(padded(16384), json.loads(padded(16384)), id="16 KB"),
    ],
)
@pytest.mark.parametrize("is_base64", [False, True], ids=["text", "base64"])
def test_given_a_good_body_when_parsed_then_it_is_that_object(
    body: str | None, value: dict[str, Any], is_base64: bool
) -> None:
    if is_base64 and body is not None:
        body = base64.b64encode(body.encode()).decode()

    assert parse_body(body, is_base64=is_base64) == value


@pytest.mark.parametrize(("body", "reason"), BAD_BODIES)
@pytest.mark.parametrize("is_base64", [False, True], ids=["text", "base64"])
def test_given_a_bad_body_when_parsed_then_it_is_refused_in_clear_words(
    body: str, reason: str, is_base64: bool
) -> None:
    if is_base64:
        body = base64.b64encode(body.encode()).decode()

    with pytest.raises(BadRequest, match=reason):
        parse_body(body, is_base64=is_base64)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a":"\xff"}', id="no such byte"),
        pytest.param(b'{"a":"\xc0\xaf"}', id="overlong"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="encoded surrogate"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"\x1f\x8b\x08\x00", id="gzip"),
    ],
)
def test_given_bytes_that_are_not_utf8_when_parsed_then_they_are_refused(
    raw: bytes,
) -> None:
    with pytest.raises(BadRequest, match="not UTF-8"):
        parse_body(base64.b64encode(raw).decode(), is_base64=True)


@pytest.mark.parametrize(
    ("body", "is_base64"),
    [
        pytest.param("!" * 6_000_000, True, id="base64"),
        pytest.param("\ud800" * 6_000_000, False, id="text"),
    ],
)
def test_given_megabytes_when_parsed_then_they_are_refused_without_decoding(
    body: str, *, is_base64: bool
) -> None:
    """These bodies cannot be decoded, and an attempt would raise an error."""
    with pytest.raises(BadRequest, match="longer than 16384"):
        parse_body(body, is_base64=is_base64)


@pytest.mark.parametrize("body", ["%%%", "abc", "YQ==YQ=="])
def test_given_broken_base64_when_parsed_then_it_is_refused(body: str) -> None:
    with pytest.raises(BadRequest, match="not UTF-8"):
        parse_body(body, is_base64=True)


@pytest.mark.parametrize(
    ("device", "device_id", "info"),
    [
        pytest.param({}, NO_DEVICE, {}, id="nothing"),
        pytest.param(
            {
                "deviceId": {"$oid": DEVICE_ID},
                "platform": "node",
                "platformVersion": "20.20.2",
                "sdkVersion": "2.0.1",
                "appId": "my app",
                "appVersion": "1.2",
            },
            DEVICE_ID,
            {
                "platform": "node",
                "platformVersion": "20.20.2",
                "sdkVersion": "2.0.1",
                "appVersion": "1.2",
            },
            id="realm-web",
        ),
        pytest.param(
            {
                "appId": "myapp-abcde",
                "platform": "Darwin",
                "platformVersion": "",
                "sdk": "Swift",
                "sdkVersion": "10.54.6",
                "cpuArch": "arm64",
                "deviceName": "Anna's phone",
                "deviceVersion": "",
                "frameworkName": "",
                "frameworkVersion": "",
                "coreVersion": "14.14.0",
                "bundleId": "example",
            },
            NO_DEVICE,
            {"platform": "Darwin", "sdk": "Swift", "sdkVersion": "10.54.6"},
            id="Core",
        ),
        pytest.param(
            {"deviceId": DEVICE_ID.upper(), "platform": "node"},
            DEVICE_ID.upper(),
            {"platform": "node"},
            id="Stitch",
        ),
        pytest.param({"deviceId": NO_DEVICE}, NO_DEVICE, {}, id="zeros"),
        pytest.param({"deviceId": None}, NO_DEVICE, {}, id="null"),
        pytest.param({"deviceId": ""}, NO_DEVICE, {}, id="empty"),
        pytest.param({"deviceId": DEVICE_ID[:23]}, NO_DEVICE, {}, id="23 digits"),
        pytest.param({"deviceId": DEVICE_ID + "0"}, NO_DEVICE, {}, id="25 digits"),
        pytest.param({"deviceId": DEVICE_ID + "\n"}, NO_DEVICE, {}, id="line feed"),
        pytest.param({"deviceId": "g" * 24}, NO_DEVICE, {}, id="not hex"),
        pytest.param({"deviceId": "٣" * 24}, NO_DEVICE, {}, id="other digits"),
        pytest.param({"deviceId": {}}, NO_DEVICE, {}, id="no $oid"),
        pytest.param({"unknown": [1, {}]}, NO_DEVICE, {}, id="unknown field"),
        pytest.param(
            {"platform": "é" * 17}, NO_DEVICE, {"platform": "é" * 16}, id="cut"
        ),
        pytest.param(
            {"platform": "a" + "é" * 16},
            NO_DEVICE,
            {"platform": "a" + "é" * 15},
            id="cut between characters",
        ),
        pytest.param({"deviceId": 5}, NO_DEVICE, {}, id="id a number"),
        pytest.param({"deviceId": [DEVICE_ID]}, NO_DEVICE, {}, id="id in a list"),
        pytest.param({"deviceId": {"$oid": 5}}, NO_DEVICE, {}, id="$oid a number"),
        pytest.param(
            {"platformVersion": 18, "sdkVersion": 10.5, "appVersion": 0},
            NO_DEVICE,
            {"platformVersion": "18", "sdkVersion": "10.5", "appVersion": "0"},
            id="numbers",
        ),
        pytest.param(
            {"platformVersion": {"$numberInt": "18"}, "sdkVersion": {"$numberInt": 2}},
            NO_DEVICE,
            {"platformVersion": "18", "sdkVersion": "2"},
            id="numbers in extended JSON",
        ),
        pytest.param(
            {"platformVersion": 10**40},
            NO_DEVICE,
            {"platformVersion": "1" + "0" * 31},
            id="huge",
        ),
        pytest.param(
            {
                "platform": True,
                "platformVersion": [18],
                "sdk": {},
                "sdkVersion": {"$date": "x"},
                "appVersion": {"$numberInt": []},
                "frameworkName": {"$numberInt": "1", "x": 1},
            },
            NO_DEVICE,
            {},
            id="neither text nor number",
        ),
    ],
)
def test_given_a_device_when_parsed_then_id_and_known_fields_remain(
    device: dict[str, Any], device_id: str, info: dict[str, str]
) -> None:
    parsed = parse_device({"options": {"device": device}, "provider": "anon-user"})

    assert parsed == Device(device_id, info)


@pytest.mark.parametrize(("body", "name"), WRONG_TYPES)
def test_given_a_wrong_type_when_parsed_then_the_error_names_the_field(
    body: dict[str, Any], name: str
) -> None:
    with pytest.raises(BadRequest, match=name):
        parse_device(body)


@pytest.mark.parametrize("body", [{}, {"options": None}, {"options": {"device": None}}])
def test_given_no_device_when_parsed_then_it_is_none(body: dict[str, Any]) -> None:
    assert parse_device(body) is None
