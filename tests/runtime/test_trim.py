"""The parts that are cut out of the bundle's dependencies, and are never needed."""

import gzip
import hashlib
import json
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import botocore
import pytest

from bundle.trim import AUTHORITIES, OPERATIONS, STUBS, Changed, trim
from runtime.runtime_api import run
from support.project.sam_template import resources, translated

HANDLERS = {
    name: function["Handler"].rpartition(".")[0]
    for name, function in resources(translated(), "AWS::Lambda::Function").items()
}
UNSEEN = {
    "botocore.docs.bcdoc",
    "botocore.docs.service",
    "cryptography.x509.base",
    "cryptography.x509.name",
    "dateutil.parser._parser",
    "html.parser",
    "importlib.metadata",
    "zipfile",
}
"""Modules that dependencies import, but no function needs."""


def undocumented(model: Any) -> Any:
    if isinstance(model, dict):
        return {
            name: undocumented(each)
            for name, each in model.items()
            if not (name == "documentation" and isinstance(each, str))
        }
    return [undocumented(e) for e in model] if isinstance(model, list) else model


def referred(model: Any) -> Iterator[str]:
    if isinstance(model, dict):
        if isinstance(model.get("shape"), str):
            yield model["shape"]
        for each in model.values():
            yield from referred(each)
    elif isinstance(model, list):
        for each in model:
            yield from referred(each)


@pytest.mark.parametrize("name", STUBS)
def test_given_a_stub_when_its_package_changes_then_it_has_to_be_reviewed(
    name: str,
) -> None:
    """The build refuses it too. This test fails earlier."""
    spec = find_spec(name.partition("/")[0].removesuffix(".py"))
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)  # a package's origin is its __init__.py
    packages = origin.parent if origin.name == name else origin.parents[1]

    installed = packages / name

    assert hashlib.sha256(installed.read_bytes()).hexdigest() == STUBS[name]


def test_given_another_file_where_a_stub_goes_when_trimmed_then_it_is_refused(
    tmp_path: Path,
) -> None:
    for name in STUBS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a later version")

    with pytest.raises(Changed) as refused:
        trim(tmp_path)

    name = next(iter(STUBS))
    assert str(refused.value) == f"{name} has changed: review it, then stubs/{name}"
    assert (tmp_path / name).read_text() == "a later version"


@pytest.mark.parametrize("service", OPERATIONS)
def test_given_a_model_in_the_bundle_then_our_operations_are_as_the_sdk_has_them(
    bundle: Path, service: str
) -> None:
    cut = max((bundle / "botocore/data" / service).glob("*/service-2.json"))
    version = cut.parent.name
    data = Path(botocore.__file__).parent / "data"
    packed = data / service / version / "service-2.json.gz"

    model = json.loads(cut.read_text())
    whole = undocumented(json.loads(gzip.decompress(packed.read_bytes())))

    assert model["metadata"] == whole["metadata"]
    assert model["operations"] == {
        name: whole["operations"][name] for name in OPERATIONS[service]
    }
    assert model["shapes"] == {name: whole["shapes"][name] for name in model["shapes"]}
    assert set(referred(model)) == model["shapes"].keys()


def test_given_the_bundle_when_aws_is_called_then_amazons_five_roots_are_trusted(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    code = (
        "from anonauth.aws_session import make_session\n"
        "print(make_session('eu-central-1').get_config_variable('ca_bundle'))\n"
    )
    file = Path(run(code, bundle=bundle).strip())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    tls.load_verify_locations(file)

    subjects: list[Any] = [each["subject"] for each in tls.get_ca_certs()]
    trusted = {dict(name for (name,) in each)["commonName"] for each in subjects}
    assert file == bundle / "botocore/amazon.pem"
    assert trusted == set(AUTHORITIES)


def test_given_the_bundle_when_events_of_the_sdk_occur_then_they_keep_their_names(
    bundle: Path,
) -> None:
    """The SDK would look for 65 old names of services in each name of an event."""
    code = (
        "from anonauth.aws_session import make_session\n"
        "session = make_session('eu-central-1')\n"
        "for name in ('happened.events', 'happened.eventbridge'):\n"
        "    session.register(name, lambda event_name, **_: print(event_name))\n"
        "    session.emit(name)\n"
    )

    named = run(code, bundle=bundle).split()

    assert named == ["happened.events", "happened.eventbridge"]


def test_given_functions_when_they_start_then_what_they_do_without_is_not_loaded(
    bundle: Path,
) -> None:
    # Lifecycle uses Powertools' batch processing, which imports more.
    handlers = [HANDLERS[name] for name in HANDLERS if name != "LifecycleFunction"]
    code = (
        "import importlib, json\n"
        "for handler in sys.argv[1:]: importlib.import_module(handler)\n"
        "import gc\n"
        "print(json.dumps([list(sys.modules), gc.isenabled(), gc.get_freeze_count(),"
        " gc.get_threshold()[0]]))"
    )

    loaded, collects, frozen, young = json.loads(run(code, *handlers, bundle=bundle))

    assert set(handlers) < set(loaded)
    assert not UNSEEN & set(loaded)
    assert collects
    assert frozen > 50_000
    assert young > 10_000  # objects that a start and a first request create


def test_given_functions_when_they_call_aws_then_unused_modules_are_not_loaded(
    bundle: Path,
) -> None:
    # Powertools' batch processing, for Lifecycle, imports more.
    handlers = [HANDLERS[name] for name in HANDLERS if name != "LifecycleFunction"]
    code = (
        "import importlib, json, types\n"
        "for handler in sys.argv[1:]: importlib.import_module(handler)\n"
        "from anonauth.aws_session import make_session\n"
        "from anonauth.handlers._cold_start import UNUSED\n"
        "session = make_session('eu-central-1')\n"
        "session.create_client('ssm', region_name='eu-central-1')\n"
        "'host'.encode('idna')\n"
        "print(json.dumps([sorted(UNUSED), sorted(name for name, module"
        " in sys.modules.items() if type(module).__name__ == '_LazyModule')]))\n"
        "import shutil\n"
        "print(shutil.which('sh') is not None, type(shutil) is types.ModuleType)\n"
    )

    listed, used = run(code, *handlers, bundle=bundle).splitlines()

    unused, deferred = json.loads(listed)
    assert deferred == unused
    assert used == "True True"


def test_given_a_function_when_refresh_tokens_are_used_then_x509_is_not_loaded(
    bundle: Path,
) -> None:
    """PyJWT's own HMAC would ask it for certificates."""
    code = (
        "from anonauth import handlers, tokens\n"
        "key = bytes(32)\n"
        "token = tokens._sign({'sub': 'ada'}, key, 'HS256', {'kid': 'k'})\n"
        "print(tokens._verify(token, alg='HS256', key_of=lambda kid: key))\n"
        "print('cryptography.x509.base' in sys.modules)\n"
        "from cryptography import x509; x509.Certificate\n"
        "print('cryptography.x509.base' in sys.modules)\n"
    )

    assert run(code, bundle=bundle).splitlines() == ["{'sub': 'ada'}", "False", "True"]


def test_given_a_partner_with_a_secret_when_it_is_read_then_x509_is_not_loaded(
    bundle: Path,
) -> None:
    """PyJWT's own HMAC would ask it for certificates."""
    code = (
        "from anonauth import handlers\n"
        "from anonauth.issuers.key_sets import load_secret\n"
        "print(load_secret('s' * 32, 'HS256') == b's' * 32)\n"
        "print('cryptography.x509.base' in sys.modules)\n"
    )

    assert run(code, bundle=bundle).splitlines() == ["True", "False"]


def test_given_the_bundle_when_an_instant_is_parsed_then_it_is_as_ever(
    bundle: Path,
) -> None:
    code = (
        "import botocore.utils, dateutil.parser\n"
        "for text in sys.argv[1:]:\n"
        "    print(botocore.utils.parse_timestamp(text).isoformat())\n"
        "print(dateutil.parser.parse(sys.argv[1]).isoformat())\n"
    )

    found = run(
        code, "2026-03-10T12:00:00Z", "Tue, 10 Mar 2026 12:00:00 GMT", bundle=bundle
    )

    assert found.split() == ["2026-03-10T12:00:00+00:00"] * 3


def test_given_the_bundle_when_a_type_is_asked_for_then_python_has_it(
    bundle: Path,
) -> None:
    code = (
        "import typing_extensions\n"
        "from typing_extensions import Buffer, Self, deprecated\n"
        "print(Self, hasattr(typing_extensions, 'teleport'))\n"
    )

    assert run(code, bundle=bundle) == "typing.Self False\n"


def test_given_the_bundle_when_an_ssh_key_is_loaded_then_it_is_refused(
    bundle: Path,
) -> None:
    code = (
        "from cryptography.exceptions import UnsupportedAlgorithm\n"
        "from cryptography.hazmat.primitives import serialization\n"
        "try: serialization.load_ssh_public_key(b'ssh-rsa AAAA')\n"
        "except UnsupportedAlgorithm as exc: print(exc)\n"
    )

    assert run(code, bundle=bundle) == "SSH keys are left out of this bundle\n"


def test_given_a_function_when_it_starts_then_a_snapshot_of_it_holds_nothing_of_its_own(
    bundle: Path,
) -> None:
    """With SnapStart, all copies would start with the same keys and connections."""
    code = (
        "import gc, importlib, socket; importlib.import_module(sys.argv[1])\n"
        "from anonauth import wiring\n"
        "from botocore.client import BaseClient\n"
        "gc.unfreeze()\n"
        "kinds = BaseClient, socket.socket\n"
        "held = [each for each in gc.get_objects() if isinstance(each, kinds)]\n"
        "print(wiring._from_environment.cache_info().currsize, held)\n"
    )

    assert run(code, HANDLERS["LoginFunction"], bundle=bundle) == "0 []\n"


@pytest.mark.parametrize("function", HANDLERS)
def test_given_a_function_when_it_starts_then_no_library_writes_to_the_log(
    bundle: Path, function: str
) -> None:
    """Lambda's runtime has a handler on the root logger, for whatever is written."""
    code = (
        "import importlib, logging\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "importlib.import_module(sys.argv[1])\n"
    )

    assert run(code, HANDLERS[function], bundle=bundle) == ""
