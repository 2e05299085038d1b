"""The commands of restore.md are right: AWS, SAM and `anonauth` would take them.

They cannot be run here. botocore's service models know each operation of AWS, with its
parameters and their form.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
import typer
from botocore import xform_name
from botocore.validate import validate_parameters

from anonauth.cli.commands import app
from support.project import sam_template
from support.project.pages import block, page

_PLAIN: dict[str, Callable[[str], Any]] = {
    "boolean": {"true": True, "false": False}.__getitem__,
    "double": float,
    "integer": int,
    "long": int,
}
_OF_THE_CLI = {"--output", "--query", "--region"}


def commands(name: str) -> list[list[str]]:
    """Return the arguments of each command of one program on the page."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", page("restore.md"), re.M | re.S)
    lines = [line.strip() for code in blocks for line in code.splitlines()]
    parts = [part for line in lines for part in _split_at_and(line)]
    return [words[1:] for words in parts if words[0] == name]


def _split_at_and(line: str) -> Iterator[list[str]]:
    words: list[str] = []
    for word in shlex.split(re.sub(r" > \S+$", "", line)):
        if word == "&&":
            yield words
            words = []
        else:
            words.append(word)
    yield words


def options(words: list[str]) -> dict[str, str | None]:
    """Return options and their values, None for a switch."""
    found: dict[str, str | None] = {}
    for word in words:
        if word.startswith("--"):
            found[name := word] = None
        else:
            assert found[name] is None, word
            found[name] = word
    return found


def parameters(takes: Any, given: dict[str, str | None]) -> dict[str, Any]:
    """Return the parameters of a call, as the AWS CLI reads them."""
    shapes = takes.members
    names = {f"--{xform_name(name, '-')}": name for name in shapes}
    read: dict[str, Any] = {}
    for option, value in given.items():
        if option in _OF_THE_CLI:
            continue
        is_off = option not in names and option.startswith("--no-")
        name = names[option.replace("--no-", "--", 1) if is_off else option]
        read[name] = not is_off if value is None else _read(value, shapes[name])
    return read


def _read(value: str, shape: Any) -> Any:
    if value.startswith("file://"):
        return json.loads(block(value.removeprefix("file://")))
    if value.startswith("{"):
        read = json.loads(value)
        return value if shape.type_name == "string" else read
    if shape.type_name in {"structure", "map"}:
        pairs = [pair.split("=") for pair in value.split(",")]
        return {name: _read(text, _inner(shape, name)) for name, text in pairs}
    if shape.type_name == "list":
        return [_read(value, shape.member)]
    return _PLAIN.get(shape.type_name, str)(value)


def _inner(shape: Any, name: str) -> Any:
    return shape.members[name] if shape.type_name == "structure" else shape.value


@pytest.mark.parametrize("words", commands("aws"), ids=" ".join)
def test_given_a_command_for_aws_when_checked_then_the_operation_takes_it(
    words: list[str],
) -> None:
    service, operation, *rest = words
    session = botocore.session.get_session()
    if operation == "wait":
        waiters = session.get_waiter_model(service)
        waiter, *rest = rest
        names = {xform_name(name, "-"): name for name in waiters.waiter_names}
        operation = xform_name(waiters.get_waiter(names[waiter]).operation, "-")
    model = session.get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    takes: Any = model.operation_model(operations[operation]).input_shape

    given = parameters(takes, options(rest))

    validate_parameters(given, takes)


def test_given_the_commands_for_sam_then_the_template_has_their_parameters() -> None:
    deployments = [words for words in commands("sam") if words[0] == "deploy"]
    declared = sam_template.load()["Parameters"]

    assert len(deployments) == 3
    for words in deployments:
        settings = words[words.index("--parameter-overrides") + 1 :]
        for name, value in (setting.split("=") for setting in settings):
            pattern = declared[name]["AllowedPattern"]
            assert re.search(pattern, value), (name, value)


@pytest.mark.parametrize("words", commands("anonauth"), ids=" ".join)
def test_given_a_command_of_ours_when_checked_then_it_has_these_options(
    words: list[str],
) -> None:
    command: Any = typer.main.get_command(app)
    group, *rest = words

    known = {name for p in command.commands[group].params for name in p.opts}

    assert set(options(rest)) <= known
