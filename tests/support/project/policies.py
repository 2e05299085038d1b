"""The grants of `template.yaml` to each function's role, compared with its AWS calls.

Tests then show that the grants suffice, and which grants are not needed.
"""

import fnmatch
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Any

from support.project.sam_template import Json, statements

REGION = "eu-central-1"
ACCOUNT = "123456789012"

_ARN = f"arn:aws:{{}}:{REGION}:{ACCOUNT}:{{}}"

# SES has paths where the other services have targets.
_SEND_MAIL = "/v2/email/outbound-emails"

_Quantifier = Callable[[Iterable[bool]], bool]
_Comparison = Callable[[str, str], bool]

_OPERATORS: dict[str, tuple[_Quantifier, _Comparison]] = {
    "ForAllValues:StringEquals": (all, operator.eq),
    "ForAllValues:StringLike": (all, fnmatch.fnmatchcase),
    "ForAnyValue:StringEquals": (any, operator.eq),
    "StringEquals": (any, operator.eq),
}

# These operations only restrict, so none of them can be needless.
_LIMITS: dict[str, Callable[[list[str], list[str]], bool]] = {
    "Null": lambda found, expected: str(not found).lower() in expected,
    "StringEqualsIfExists": lambda found, expected: set(found) <= set(expected),
}

# Words of an expression that are neither attribute names nor placeholders.
_WORDS = {"AND", "OR", "NOT", "BETWEEN", "IN", "begins_with", "contains", "size"}
_WORDS |= {"attribute_exists", "attribute_not_exists", "attribute_type"}

_ENCLOSING = "dynamodb:EnclosingOperation"

# Grants that AWS itself uses with a function's role, outside of its code.
_BY_AWS = {
    "LifecycleFunction": {
        # Lambda's poller reads the stream (AWS Lambda Developer Guide, "Using AWS
        # Lambda with Amazon DynamoDB", execution role permissions).
        "dynamodb:DescribeStream Table.StreamArn",
        "dynamodb:GetRecords Table.StreamArn",
        "dynamodb:GetShardIterator Table.StreamArn",
        "dynamodb:ListStreams *",
        # It also writes to the on-failure destination ("Retaining discarded batches").
        "s3:PutObject FailedRecords/aws/lambda/*",
        "s3:ListBucket FailedRecords",
    },
    # If the sender's identity has a configuration set, SES asks for both.
    "UserpassFunction": {
        f"ses:SendEmail {_ARN.format('ses', 'configuration-set/*')}",
    },
}


@dataclass(frozen=True)
class _Need:
    """An action on a resource, with the condition keys that AWS fills in."""

    action: str
    resource: str
    context: dict[str, list[str]] = field(default_factory=dict)


class Policies:
    """Decides what a function may do; records refused calls and used grants.

    Args:
        functions: Logical ids.
        parameters: The deployment's values, with all that a policy refers to.
        names: From the names of table and key in calls to their logical ids.
    """

    def __init__(
        self,
        functions: Iterable[str],
        parameters: Mapping[str, str],
        names: Mapping[str, str],
    ) -> None:
        self.refused: list[str] = []
        self.names = dict(names)
        values = _VALUES | dict(parameters)
        self._statements: dict[str, list[Json]] = {
            function: _resolved(statements(function), values) for function in functions
        }
        self._used: set[tuple[str, int, str]] = set()

    def knows(self, caller: str) -> bool:
        """Tell whether the caller is a function; other callers have no policy."""
        return caller in self._statements

    def allows(self, caller: str, operation: str, request: Json) -> bool:
        """Tell whether a function's role grants a call, as AWS would.

        Args:
            operation: The header `X-Amz-Target`, or the path if there is none.
            request: The body.
        """
        for need in self._needs(operation, request):
            if not self._is_granted(caller, need):
                self.refused.append(f"{caller}: {need}")
                return False
        return True

    def forget_refusals(self) -> list[str]:
        """Return the refused calls, and forget them."""
        refused, self.refused = self.refused, []
        return refused

    def unused(self, caller: str) -> list[str]:
        """Return the grants that neither a call nor AWS itself has used."""
        by_aws = _BY_AWS.get(caller, set())
        return [
            grant
            for number, statement in enumerate(self._statements[caller])
            for grant in _grants(statement)
            if (caller, number, grant) not in self._used
            if " ".join(grant.split()[:2]) not in by_aws
        ]

    def _is_granted(self, caller: str, need: _Need) -> bool:
        granted = False
        for number, statement in enumerate(self._statements[caller]):
            used = _used(statement, need)
            self._used |= {(caller, number, grant) for grant in used}
            granted = granted or bool(used)
        return granted

    def _needs(self, operation: str, request: Json) -> Iterator[_Need]:
        """Yield the grants that a call needs."""
        service, _, name = operation.partition(".")
        match service:
            case "TrentService":
                said = request.get("EncryptionContext", {})
                context = {f"kms:EncryptionContext:{k}": [v] for k, v in said.items()}
                key: str = request.get("KeyId", "")
                yield _Need(f"kms:{name}", self.names.get(key, key), context)
            case "AmazonSSM":
                for parameter in request.get("Names") or [request["Name"]]:
                    arn = _ARN.format("ssm", f"parameter{parameter}")
                    yield _Need(f"ssm:{name}", arn)
            case _ if operation == _SEND_MAIL:
                address = parseaddr(request["FromEmailAddress"])[1]
                arn = _ARN.format("ses", f"identity/{address}")
                yield _Need("ses:SendEmail", arn, {"ses:FromAddress": [address]})
            case "AWSEvents":
                sources: dict[str, list[str]] = {}
                for entry in request["Entries"]:
                    bus = entry.get("EventBusName", "default")
                    sources.setdefault(bus, []).append(entry["Source"])
                for bus, found in sources.items():
                    named = _ARN.format("events", f"event-bus/{bus}")
                    arn = bus if ":" in bus else named
                    yield _Need(f"events:{name}", arn, {"events:source": found})
            case _:
                for action, table, context in _table_needs(name, request):
                    resource = self.names.get(
                        table, _ARN.format("dynamodb", f"table/{table}")
                    )
                    if index := request.get("IndexName"):
                        resource += f"/index/{index}"
                    yield _Need(f"dynamodb:{action}", resource, context)


_TableNeed = tuple[str, str, dict[str, list[str]]]  # action, table, context


def _table_needs(operation: str, request: Json) -> Iterator[_TableNeed]:
    if operation == "TransactWriteItems":
        # The actions in it, each on its own (Amazon DynamoDB Developer Guide, "Using
        # IAM with DynamoDB transactions").
        items = [
            (f"{action}Item", item)
            for entry in request["TransactItems"]
            for action, item in entry.items()
        ]
        enclosing = {_ENCLOSING: [operation]}
        # AWS does not say which keys a transaction's condition sees: both must match.
        for action, item in items:
            table = item["TableName"]
            yield action, table, {"dynamodb:LeadingKeys": _pks(item), **enclosing}
            all_pks = [pk for _, each in items for pk in _pks(each)]
            yield action, table, {"dynamodb:LeadingKeys": all_pks, **enclosing}
    elif operation == "BatchGetItem":
        for table, keys in request["RequestItems"].items():
            pks = [key["pk"]["S"] for key in keys["Keys"]]
            yield operation, table, {"dynamodb:LeadingKeys": pks}
    elif operation == "Scan":
        context = {"dynamodb:Attributes": sorted(_attributes(request))}
        # If it is missing, AWS derives it from the projection: its own policies limit
        # GetItem by it, which has no such parameter (Amazon DynamoDB Developer Guide,
        # "Resource-based policy examples").
        derived = "SPECIFIC" if "ProjectionExpression" in request else "ALL"
        context["dynamodb:Select"] = [request.get("Select", f"{derived}_ATTRIBUTES")]
        yield operation, request["TableName"], context
    else:
        context = {"dynamodb:LeadingKeys": _pks(request)}
        yield operation, request.get("TableName", ""), context


def _attributes(request: Json) -> set[str]:
    """Return the attributes that a request names, in conditions and projection."""
    named = request.get("ExpressionAttributeNames", {})
    expressions = ("ProjectionExpression", "FilterExpression")
    text = " ".join(request.get(expression, "") for expression in expressions)
    words = set(re.findall(r"[#:]?\w+", text)) - _WORDS
    return {named.get(word, word) for word in words if not word.startswith(":")}


def _pks(item: Json) -> list[str]:
    key: Json = item.get("Key") or item.get("Item") or {}
    return [key["pk"]["S"]] if key else []


def _used(statement: Json, need: _Need) -> set[str]:
    """Return the grants of a statement that a need uses; none if it is not met."""
    if need.action not in _list(statement["Action"]):
        return set()
    resources = {
        wanted
        for wanted in _list(statement["Resource"])
        if fnmatch.fnmatchcase(need.resource, wanted)
    }
    if not resources:
        return set()
    values = []
    for name, key, expected in _conditions(statement):
        given = need.context.get(key, [])
        if name in _LIMITS:
            if not _LIMITS[name](given, expected):
                return set()
            continue
        quantifier, matches = _OPERATORS[name]
        found = [
            {wanted for wanted in expected if matches(value, wanted)} for value in given
        ]
        if not quantifier(bool(wanted) for wanted in found):
            return set()
        # ForAllValues also holds for a call that has no value at all.
        values.append(set().union(*found) or {"nothing"})
    return set(_combined(statement, {need.action}, resources, values))


def _grants(statement: Json) -> Iterator[str]:
    """Yield the grants of a statement one by one."""
    values = [
        expected for name, _, expected in _conditions(statement) if name not in _LIMITS
    ]
    actions, resources = _list(statement["Action"]), _list(statement["Resource"])
    return _combined(statement, actions, resources, values)


def _combined(
    statement: Json,
    actions: Iterable[str],
    resources: Iterable[str],
    values: Iterable[Iterable[str]],
) -> Iterator[str]:
    if any(key == _ENCLOSING for _, key, _ in _conditions(statement)):
        # Not each action on each kind of item: AWS does not say which keys it sees, so
        # all items of a transaction need the grants of each.
        yield from actions
        for each in values:
            yield from each
        return
    for action, resource, *found in itertools.product(actions, resources, *values):
        yield " ".join([action, resource, *found])


def _conditions(statement: Json) -> Iterator[tuple[str, str, list[str]]]:
    for name, keys in statement.get("Condition", {}).items():
        for key, expected in keys.items():
            yield name, key, _list(expected)


def _resolved(value: Any, values: Mapping[str, str]) -> Any:
    """Resolve a policy as CloudFormation does; table and key keep their ids."""
    match value:
        case {"Fn::GetAtt": [name, attribute]} | {
            "Fn::If": ["HasOwnKey", {"Fn::GetAtt": [name, attribute]}, _]
        }:
            return name if attribute == "Arn" else f"{name}.{attribute}"
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([A-Za-z:.]+)\}", lambda name: values[name[1]], text)
        case {"Ref": name}:
            return values[name]
        case dict():
            return {key: _resolved(each, values) for key, each in value.items()}
        case list():
            return [_resolved(each, values) for each in value]
    return value


_VALUES = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "FailedRecords.Arn": "FailedRecords",
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
