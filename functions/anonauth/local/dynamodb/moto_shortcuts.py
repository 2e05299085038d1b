"""Shorter ways through moto for what each call of the service does.

moto reads a request and writes an answer by AWS's model, one attribute value after the
other. It compiles the expressions of each call anew, and copies their trees in general
ways. Together that is half of its time. Each function here returns a replacement for
one of moto's, which answers the same and leaves everything unusual to the original.
"""

import functools
import io
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any
from urllib.parse import urlparse, urlsplit

_PLAIN = {"S": str, "N": str, "BOOL": bool, "NULL": bool}
_MISSING = object()
_KEPT_EXPRESSIONS = 1024
_JSON = "application/x-amz-json"

_is_kind: Callable[[Any, Any], bool] = functools.cache(issubclass)


def parse_structure(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `BaseJSONParser._parse_structure` that leaves attribute values alone."""

    def parse(self: Any, shape: Any, value: Any) -> Any:
        if shape.name == "AttributeValue" and self.MAP_TYPE is dict:
            read = _as_on_the_wire(value)
            if read is not _MISSING:
                return read
        return original(self, shape, value)

    return parse


def serialize_structure(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `BaseJSONSerializer._serialize_type_structure` that does likewise."""

    def serialize(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if key and shape.name == "AttributeValue":
            written = _as_on_the_wire(value)
            if written is not _MISSING:
                self._default_serialize(serialized, written, shape, key)
                return
        original(self, serialized, value, shape, key)

    return serialize


def _as_on_the_wire(value: Any) -> Any:
    """Return the attribute value as JSON has it, or `_MISSING` if it is unusual.

    Binary values are unusual, because moto converts them.
    """
    if type(value) is not dict or len(value) != 1:
        return _MISSING
    ((kind, content),) = value.items()
    if type(content) is _PLAIN.get(kind):
        return value
    if kind in ("SS", "NS") and type(content) is list:
        return value if {type(each) for each in content} == {str} else _MISSING
    if kind == "M" and type(content) is dict:
        members = {name: _as_on_the_wire(each) for name, each in content.items()}
        return _MISSING if _MISSING in members.values() else {kind: members}
    if kind == "L" and type(content) is list:
        elements = [_as_on_the_wire(each) for each in content]
        return _MISSING if _MISSING in elements else {kind: elements}
    return _MISSING


def from_primitives(original: Callable[..., Any]) -> Any:
    """Return a `Request.from_primitives` that builds usual requests itself.

    werkzeug's builder is for forms, files and cookies, too.
    """
    from moto.core.request import Request  # noqa: PLC0415
    from werkzeug.datastructures import MultiDict  # noqa: PLC0415

    class Usual(Request):
        is_usual = True
        want_form_data_parsed = False
        values: Any = MultiDict()  # no query and no form
        raw_path: Any = "/"
        raw_url: Any = None

        def __init__(self, environ: dict[str, Any], url: str, body: bytes) -> None:
            super().__init__(environ)
            self.raw_url = url
            self._cached_data = body

    def build(method: str, url: str, headers: Any, body: Any = None) -> Any:
        scheme, netloc, path, query, _ = urlsplit(url)
        is_json = _text(headers.get("Content-Type", "")).startswith(_JSON)
        is_usual = is_json and path == "/" and not query and ":" not in netloc
        is_plain = isinstance(body, bytes) and "Content-Encoding" not in headers
        if method != "POST" or not is_usual or not is_plain:
            return original(method, url, headers, body)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_URI": path,
            "RAW_URI": path,
            "SERVER_NAME": netloc,
            "SERVER_PORT": {"https": "443", "http": "80"}[scheme],
            "HTTP_HOST": netloc,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "CONTENT_LENGTH": str(len(body)),
            "moto.preserved_header_names": {},
        }
        for name, value in headers.items():
            upper = name.upper().replace("-", "_")
            known = upper in ("CONTENT_TYPE", "CONTENT_LENGTH")
            environ[upper if known else f"HTTP_{upper}"] = _text(value)
        return Usual(environ, url, body)

    return staticmethod(build)


def _text(header: str | bytes) -> str:
    return header.decode() if isinstance(header, bytes) else header


def setup_class(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `BaseResponse.setup_class` that looks for no form in a usual request."""
    from moto.core.utils import utcnow  # noqa: PLC0415
    from moto.utilities.utils import get_partition  # noqa: PLC0415
    from werkzeug.http import http_date  # noqa: PLC0415

    parsed = functools.lru_cache(urlparse)
    date = functools.lru_cache(1)(http_date)

    def set_up(
        self: Any, request: Any, full_url: Any = None, headers: Any = None, **raw: Any
    ) -> None:
        is_usual = getattr(request, "is_usual", False) and not self.use_raw_body
        # moto's own callers may name another address, or want the body as bytes.
        if not is_usual or raw or full_url not in (None, request.raw_url):
            original(self, request, full_url, headers, **raw)
            return
        self.is_werkzeug_request = False
        self.normalized_request = request
        self.parsed_url = parsed(request.raw_url)
        self.raw_body = request.get_data()
        self.body = self.raw_body.decode()
        self.form_data = {}
        self.querystring = self.data = {}
        self.uri = request.raw_url
        self.path = self.raw_path = request.raw_path
        self.method = request.method
        self.region = self.get_region_from_url(request, request.raw_url)
        self.partition = get_partition(self.region)
        self.uri_match = {}
        self.headers = request.headers
        now = utcnow().replace(microsecond=0)
        self.response_headers = {"server": "amazon.com", "date": date(now)}
        if self.automated_parameter_parsing and self._get_action():
            self.parse_parameters(request)
        self.access_key = self.get_access_key()
        self.current_account = self.get_current_account()

    return set_up


def access_key(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `BaseResponse.get_access_key` that remembers the keys of credentials."""

    @functools.lru_cache
    def key_of(pattern: re.Pattern[str], credential: str) -> str | None:
        found = pattern.search(credential)
        return found[1] if found else None

    def look_up(self: Any) -> str:
        # It begins with "AWS4-HMAC-SHA256 Credential=KEY/20260310/eu-central-1/...,".
        credential = self.headers.get("Authorization", "").partition(",")[0]
        return key_of(self.access_key_regex, credential) or original(self)

    return look_up


def request_id(_: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `gen_amzn_requestid_long` that does not draw each letter."""

    def make(headers: dict[str, Any] | None = None) -> str:
        made = secrets.token_hex(26)
        if headers is not None:
            headers["x-amzn-requestid"] = made
        return made

    return make


def urls(original: property) -> property:
    """Return a `BaseBackend.urls` that is computed once for each service and region."""
    known: dict[Any, Any] = {}

    def look_up(self: Any) -> Any:
        key = type(self), self.region_name
        if key not in known:
            known[key] = original.__get__(self)
        return known[key]

    return property(look_up)


def modules(original: Callable[[], Iterable[str]]) -> Callable[[], frozenset[str]]:
    """Return a `list_of_moto_modules` that looks into moto's directory only once.

    moto's server asks it for each request.
    """
    return functools.cache(lambda: frozenset(original()))


def private_key(original: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a `generate_private_key` that puts off what is hardly ever needed.

    moto makes an RSA key for each symmetric key of KMS too, which takes 50 ms.
    """

    def make(key_spec: str) -> Any:
        if key_spec != "SYMMETRIC_DEFAULT":
            return original(key_spec)
        return _Later(functools.cache(lambda: original(key_spec)))

    return make


class _Later:
    """Stands for an object that is made when one of its attributes is asked for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `copy` asks for these before there is a state
            raise AttributeError(name)
        return getattr(self._make(), name)


def parse_condition(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `ConditionExpressionParser.parse` that remembers trees of expressions.

    In a remembered tree each placeholder stands for itself; `make_operand` fills it in.
    """
    from moto.dynamodb.comparisons import (  # noqa: PLC0415
        ConditionExpressionParser,
    )

    class Tree(ConditionExpressionParser):
        def _make_op_condition(self, node: Any) -> Any:
            return node

    @functools.lru_cache(_KEPT_EXPRESSIONS)
    def read(expression: str) -> tuple[Any, list[str], list[str]]:
        parser = Tree(expression, _Placeholders(), _Placeholders())
        tree = original(parser)
        return tree, parser.expr_attr_names_found, parser.expr_attr_values_found

    def parse(self: Any) -> Any:
        if not self.condition_expression:
            return original(self)
        try:
            tree, names, values = read(self.condition_expression)
            made = self._make_op_condition(tree)
        except Exception:  # noqa: BLE001 - the original says what is wrong
            return original(self)
        self.expr_attr_names_found.extend(names)
        self.expr_attr_values_found.extend(values)
        return made

    return parse


class _Placeholders(dict[str, Any]):
    def __missing__(self, placeholder: str) -> str:
        return placeholder


def make_operand(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `ConditionExpressionParser._make_operand` that fills in placeholders."""
    from moto.dynamodb.comparisons import (  # noqa: PLC0415
        AttributePath,
        AttributeValue,
    )

    def make(self: Any, node: Any) -> Any:
        if node.kind == "EXPRESSION_ATTRIBUTE_VALUE":
            return AttributeValue(self.expression_attribute_values[node.text])
        if node.kind != "PATH":
            return original(self, node)
        names = self.expression_attribute_names
        return AttributePath(
            [
                names[child.text] if child.text.startswith("#") else child.value
                for child in node.children
            ]
        )

    return make


def make_update(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `UpdateExpressionParser.make` that remembers the trees of expressions.

    moto changes only copies of the tree that it returns.
    """
    return functools.lru_cache(_KEPT_EXPRESSIONS)(original)


def copy_node(node: Any) -> Callable[..., Any]:
    """Return a `Node.__deepcopy__` that copies only what moto changes."""

    def copy(self: Any, memo: dict[int, Any]) -> Any:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        if self.children is not None:
            copied.children = [_copied(child, memo) for child in self.children]
            for child in copied.children:
                if _is_kind(type(child), node):
                    child.parent = copied
        return copied

    return copy


def _copied(child: Any, memo: dict[int, Any]) -> Any:
    return child if type(child) in (str, int) else deepcopy(child, memo)


def traverse(node: Any, before_child: Callable[..., None]) -> Callable[..., Any]:
    """Return a `DepthFirstTraverser.traverse` that looks up the kinds of nodes.

    `isinstance` is slow for nodes, since their class is abstract.

    Args:
        node: moto's class of all nodes.
        before_child: The traverser's own method for each child, which does nothing.
    """

    def traverse(self: Any, root: Any) -> Any:
        processors = self._processing_map().items()
        prepares = type(self).pre_processing_of_child is not before_child

        def go(each: Any, child_id: int) -> Any:
            kind = type(each)
            if not _is_kind(kind, node):
                return each
            parent = each.parent
            for at, child in enumerate(each.children or ()):
                if prepares:
                    self.pre_processing_of_child(each, at)
                go(child, at)
            for processed, process in processors:
                if _is_kind(kind, processed):
                    each = process(each)
                    each.parent = parent
                    if parent:
                        parent.children[child_id] = each
                    break
            return each

        return go(root, -1)

    return traverse


def find_clauses(*parents: type) -> Callable[..., Any]:
    """Return a `Node.find_clauses` that looks up the kinds of nodes as well.

    Args:
        parents: moto's classes of nodes in which there may be clauses.
    """

    def find(self: Any, kinds: list[type]) -> list[Any]:
        found = []
        for child in self.children or ():
            if type(child) in kinds:
                found.append(child)
            elif _is_kind(type(child), parents):
                found.extend(child.find_clauses(kinds))
        return found

    return find
