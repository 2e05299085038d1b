"""A CloudFormation template that moto can deploy."""

import json


def template_with_outputs(**values: object) -> str:
    """Return a template with a table, a KMS key and these outputs."""
    return json.dumps(
        {
            "Resources": {
                "Table": {
                    "Type": "AWS::DynamoDB::Table",
                    "Properties": {
                        "BillingMode": "PAY_PER_REQUEST",
                        "AttributeDefinitions": [
                            {"AttributeName": "pk", "AttributeType": "S"}
                        ],
                        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                    },
                },
                "RingKey": {
                    "Type": "AWS::KMS::Key",
                    "Properties": {"KeyPolicy": {"Version": "2012-10-17"}},
                },
            },
            "Outputs": {name: {"Value": value} for name, value in values.items()},
        }
    )
