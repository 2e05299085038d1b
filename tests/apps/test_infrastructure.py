"""The CDK and Terraform examples of deploy.md, as far as they run without AWS."""

import json
import subprocess
from pathlib import Path

import pytest

from support.project import sam_template
from support.project.pages import block
from support.project.tools import ROOT, require_tool

pytestmark = pytest.mark.long

ORIGIN = "https://www.example.com"


def packaged() -> str:
    """Return the template as `sam package` writes it, with the bundle's address."""
    template = (ROOT / "template.yaml").read_text()
    assert template.count("CodeUri: functions/") == 1
    return template.replace("CodeUri: functions/", "CodeUri: s3://bucket/bundle")


def synthesised(code: str, folder: Path) -> sam_template.Json:
    node, cdk = require_tool("node"), require_tool("cdk")
    (folder / "packaged.yaml").write_text(packaged())
    (folder / "app.mjs").write_text(code)
    (folder / "node_modules").symlink_to(cdk / "node_modules")
    ran = subprocess.run(  # noqa: S603 - the page's own words
        [node, "app.mjs"],
        cwd=folder,
        env={"CDK_OUTDIR": "out", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    template: sam_template.Json = json.loads(
        (folder / "out/anonauth.template.json").read_text()
    )
    return template


def test_given_the_cdk_app_when_synthesised_then_its_stack_is_the_templates(
    tmp_path: Path,
) -> None:
    code = block("the CDK app")
    parameters = {"AppIds": "myapp-abcde", "AllowedOrigins": ORIGIN}

    template = synthesised(code, tmp_path)
    by_cdk = sam_template.translate(template, {})
    by_sam = sam_template.translate(sam_template.load(), parameters)

    assert len(code.splitlines()) <= 10
    assert by_cdk["Resources"].keys() == by_sam["Resources"].keys()
    assert by_cdk["Outputs"].keys() == by_sam["Outputs"].keys()
    assert by_cdk["Rules"].keys() - by_sam["Rules"].keys() == {"CheckBootstrapVersion"}
    assert by_sam["Rules"].keys() < by_cdk["Rules"].keys()
    assert by_sam["Parameters"].keys() - by_cdk["Parameters"].keys() == set(parameters)
    api = by_cdk["Resources"]["Api"]["Properties"]["Body"]
    assert ORIGIN in json.dumps(api["x-amazon-apigateway-cors"])


_PARSE = """
import hcl2, json, sys
print(json.dumps(hcl2.load(sys.stdin)))
"""


def test_given_the_terraform_stack_when_parsed_then_it_sets_parameters_that_exist() -> (
    None
):
    code = block("the Terraform stack")
    python = require_tool("frameworks")
    ran = subprocess.run(  # noqa: S603 - a parser
        [python, "-c", _PARSE], input=code, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    bucket_object, stack = json.loads(ran.stdout.replace('\\"', ""))["resource"]
    assert bucket_object["aws_s3_object"].keys() == {"template"}
    arguments = stack["aws_cloudformation_stack"]["anonauth"]
    template = sam_template.load()

    assert len(packaged()) > 51_200  # the most that `template_body` takes
    assert set(arguments["parameters"]) <= template["Parameters"].keys()
    # SAM's transform is a macro.
    assert arguments["capabilities"] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    assert "Issuer" in template["Outputs"]
