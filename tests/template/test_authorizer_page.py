"""The templates and the code of authorizer.md, by which an API gets the authorizer."""

import json
from typing import Any

import pytest

# Neither package ships types.
from cfnlint.api import lint  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from support.project import sam_template
from support.project.pages import block
from support.project.sam_template import Json, resources

HEAD: Json = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Transform": "AWS::Serverless-2016-10-31",
    "Globals": {"Function": {}},
}
CODE = {"Runtime": "python3.13", "Handler": "index.handler", "InlineCode": "pass"}


def route_of(kind: str) -> Json:
    """Return a function with a route, without which SAM makes no API."""
    route = {"Path": "/notes", "Method": "GET"}
    named = {"ApiId" if kind == "HttpApi" else "RestApiId": {"Ref": "NotesApi"}}
    events = {"Notes": {"Type": kind, "Properties": route | named}}
    properties = CODE | {"Events": events}
    return {"Notes": {"Type": "AWS::Serverless::Function", "Properties": properties}}


CHAT: Json = {
    "Chat": {
        "Type": "AWS::ApiGatewayV2::Api",
        "Properties": {
            "Name": "chat",
            "ProtocolType": "WEBSOCKET",
            "RouteSelectionExpression": "$request.body.action",
        },
    },
    "ChatConnect": {
        "Type": "AWS::ApiGatewayV2::Integration",
        "Properties": {"ApiId": {"Ref": "Chat"}, "IntegrationType": "MOCK"},
    },
}
APIS = {
    "HTTP": ("the authorizer of an HTTP API", route_of("HttpApi")),
    "REST": ("the authorizer of a REST API", route_of("Api")),
    "WebSocket": ("the authorizer of a WebSocket API", CHAT),
}


def deployed(api: str) -> Json:
    """Return a template of the page, with an API, as SAM translates it."""
    name, more = APIS[api]
    template = HEAD | yaml_parse(block(name))
    template["Resources"] = template["Resources"] | more
    plain: Json = sam_template.translate(template)
    return plain


@pytest.mark.parametrize("api", APIS)
def test_given_a_template_of_the_page_when_linted_then_cloudformation_would_take_it(
    api: str,
) -> None:
    template = deployed(api)

    found = [
        f"{match.rule.id} {match.message}"
        for match in lint(json.dumps(template, indent=1))
        if match.rule.id != "W2001"  # SAM has resolved the parameter
    ]

    assert found == []


@pytest.mark.parametrize("api", APIS)
def test_given_a_template_of_the_page_when_deployed_then_its_gateway_may_ask(
    api: str,
) -> None:
    permissions = [
        each
        for each in resources(deployed(api), "AWS::Lambda::Permission").values()
        if "authorizers/" in str(each["SourceArn"])
    ]

    (permission,) = permissions
    assert permission["FunctionName"] == {"Ref": "AuthorizerArn"}
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["Action"] == "lambda:InvokeFunction"


def authorizers(template: Json) -> list[Any]:
    """Return the authorizers of a template, in the form of its OpenAPI document."""
    found: list[Any] = []
    for api in template["Resources"].values():
        body = api["Properties"].get("Body", {})
        schemes = body.get("components", body).get(
            "securitySchemes", body.get("securityDefinitions", {})
        )
        found += [each["x-amazon-apigateway-authorizer"] for each in schemes.values()]
    return found


@pytest.mark.parametrize("api", ["HTTP", "REST"])
def test_given_a_template_of_the_page_when_deployed_then_no_answer_is_kept(
    api: str,
) -> None:
    (authorizer,) = authorizers(deployed(api))

    assert authorizer["authorizerResultTtlInSeconds"] == 0
    assert "AuthorizerArn" in str(authorizer["authorizerUri"])


def test_given_the_template_of_an_http_api_then_it_takes_simple_answers() -> None:
    (authorizer,) = authorizers(deployed("HTTP"))

    assert authorizer["authorizerPayloadFormatVersion"] == "2.0"
    assert authorizer["enableSimpleResponses"] is True


def test_given_the_template_of_a_websocket_api_then_only_connect_is_asked_about() -> (
    None
):
    template = deployed("WebSocket")

    (route,) = resources(template, "AWS::ApiGatewayV2::Route").values()
    (authorizer,) = resources(template, "AWS::ApiGatewayV2::Authorizer").values()

    assert (route["RouteKey"], route["AuthorizationType"]) == ("$connect", "CUSTOM")
    assert route["AuthorizerId"] == {"Ref": "ChatAuthorizer"}
    assert "AuthorizerResultTtlInSeconds" not in authorizer  # HTTP APIs only


def test_given_the_handler_of_connect_when_a_browser_connects_then_it_names_one() -> (
    None
):
    """A browser ends a connection whose server has chosen none of its subprotocols."""
    names: Json = {}
    exec(block("the handler of a connection"), names)  # noqa: S102
    event = {"requestContext": {"authorizer": {"sub": "0" * 24}, "connectionId": "c"}}

    answer = names["handler"](event, None)

    assert answer["headers"] == {"Sec-WebSocket-Protocol": "bearer"}


def test_given_the_lines_for_cdk_when_read_then_they_are_python_without_a_cache() -> (
    None
):
    """CDK itself is no dependency of the tests."""
    code = block("the authorizers in CDK")

    compile(code, "the page", "exec")
    assert code.count("results_cache_ttl=no_cache") == 2
    assert "no_cache = Duration.seconds(0)" in code
