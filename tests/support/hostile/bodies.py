"""Request bodies that every route refuses."""

import pytest

from anonauth.handlers._body import DEEPEST_BODY, LONGEST_BODY


def nested(levels: int) -> str:
    """Return a JSON object whose innermost value is `levels` deep."""
    return '{"a":' * levels + "1" + "}" * levels


def padded(length: int) -> str:
    """Return a JSON object of `length` bytes."""
    return '{"a":"' + "x" * (length - 8) + '"}'


BAD_BODIES = [
    pytest.param("\n", "valid JSON", id="a line feed"),
    pytest.param(" \t\r\n", "valid JSON", id="blanks"),
    pytest.param("\u00a0", "valid JSON", id="no-break space"),
    pytest.param("{", "valid JSON", id="cut off"),
    pytest.param("{}}", "valid JSON", id="something after it"),
    pytest.param("{'a':1}", "valid JSON", id="single quotes"),
    pytest.param('{"a":1,}', "valid JSON", id="trailing comma"),
    pytest.param("\ufeff{}", "valid JSON", id="byte order mark"),
    pytest.param('{"a":NaN}', "NaN is not JSON", id="NaN"),
    pytest.param('{"a":-Infinity}', "-Infinity is not JSON", id="infinity"),
    pytest.param('{"a":' + "9" * 5000 + "}", "valid JSON", id="huge number"),
    pytest.param("[]", "not a JSON object", id="array"),
    pytest.param('"text"', "not a JSON object", id="string"),
    pytest.param("0", "not a JSON object", id="number"),
    pytest.param("null", "not a JSON object", id="null"),
    pytest.param("true", "not a JSON object", id="boolean"),
    pytest.param('{"a":1,"a":1}', "a name twice", id="repeated name"),
    pytest.param('{"b":{"a":1,"\\u0061":2}}', "a name twice", id="repeated, escaped"),
    pytest.param('{"a":"\\u0000"}', "NUL", id="NUL"),
    pytest.param('{"a\\u0000":1}', "NUL", id="NUL in a name"),
    pytest.param('{"a":["\\ud800"]}', "half a character", id="lone surrogate"),
    pytest.param(nested(DEEPEST_BODY + 1), "deeper than 16", id="17 levels"),
    pytest.param('{"a":' * 2000 + "1" + "}" * 2000, "deeper than 16", id="2000 levels"),
    pytest.param("[" * LONGEST_BODY, "deeper than 16", id="16 K opening brackets"),
    pytest.param(padded(LONGEST_BODY + 1), "longer than 16384", id="16 KB and a byte"),
    pytest.param("ü" * (LONGEST_BODY // 2 + 1), "longer than 16384", id="in bytes"),
]
"""Bodies that routes refuse, each with a part of the error's text."""

WRONG_TYPES = [
    pytest.param({"options": "x"}, "options", id="options"),
    pytest.param({"options": []}, "options", id="options array"),
    pytest.param({"options": {"device": "x"}}, "device", id="device"),
    pytest.param({"options": {"device": [{}]}}, "device", id="device array"),
    pytest.param({"options": {"device": 5}}, "device", id="device number"),
    pytest.param({"options": {"device": False}}, "device", id="device false"),
    pytest.param({"options": {"device": ""}}, "device", id="device empty"),
]
"""Bodies with a field of a wrong type, and the field that the error names."""
