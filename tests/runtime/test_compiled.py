"""The file with what the build has compiled, in the built bundle."""

import json
from pathlib import Path

from runtime.runtime_api import run
from support.project.sam_template import resources, translated

HANDLERS = [
    function["Handler"].rpartition(".")[0]
    for function in resources(translated(), "AWS::Lambda::Function").values()
]

WITHOUT = (
    "import importlib, re\n"
    "compile_pattern = re._compiler.compile\n"
    "from anonauth.compiled import Compiled, use\n"
    "file = Compiled(sys.path[0])\n"
)
"""What the tests have in common: the file, before Python uses it."""

MOST_PATTERNS = 9
MOST_SOURCES = 1
"""These are patterns that msgspec, PyJWT and `glob` make, and a function of six."""

FIRST_REQUEST = (
    "anonauth.providers.custom_token",
    "anonauth.providers.local_userpass",
    "anonauth.providers.oauth2_google",
    "anonauth.passwords",
    "anonauth.tokens",
)
"""Modules that a function may import at its first request."""


def test_given_a_bundle_then_every_module_has_bytecode_of_the_runtime(
    bundle: Path,
) -> None:
    code = (
        "from importlib.util import MAGIC_NUMBER\n"
        "import json, pathlib\n"
        "paths = pathlib.Path(sys.path[0]).rglob('*.pyc')\n"
        "heads = [path.read_bytes()[:8] for path in paths]\n"
        "unchecked = (0b01).to_bytes(4, 'little')  # PEP 552\n"
        "print(json.dumps([list(file.modules), file.is_for_this_python,"
        " set(heads) == {MAGIC_NUMBER + unchecked}]))"
    )

    modules, is_for_this_python, others_are = json.loads(
        run(WITHOUT + code, bundle=bundle)
    )

    sources = {path.relative_to(bundle) for path in bundle.rglob("*.py")}
    others = {
        path.relative_to(bundle).parents[1] / f"{path.name.partition('.')[0]}.py"
        for path in bundle.rglob("*.pyc")
    }
    found = {Path(*name.split(".")) for name in modules}
    assert {
        path.parent if path.name == "__init__.py" else path.with_suffix("")
        for path in sources - others
    } == found
    assert {path.stem for path in others} == {"__init__", "_cold_start", "compiled"}
    assert is_for_this_python
    assert others_are


def test_given_a_pattern_or_code_of_the_file_then_python_compiles_the_same(
    bundle: Path,
) -> None:
    code = (
        "import _sre\n"
        "for (text, flags), place in file.patterns.items():\n"
        "    ours = _sre.compile(*file.read(place))\n"
        "    theirs = compile_pattern(text, flags)\n"
        "    assert ours == theirs and ours.groupindex == theirs.groupindex, text\n"
        "for source, place in file.code.items():\n"
        "    mode = 'eval' if source.startswith('lambda') else 'exec'\n"
        "    assert file.read(place) == compile(source, '<string>', mode), source\n"
        "print(len(file.patterns) > 90, len(file.code) > 90)\n"
    )

    assert run(WITHOUT + code, bundle=bundle) == "True True\n"


def test_given_all_functions_when_first_called_then_hardly_anything_is_compiled(
    bundle: Path,
) -> None:
    code = (
        "import awslambdaric.bootstrap, importlib, json, re\n"
        "parsed, compiled, parse = [], [], re._parser.parse\n"
        "def note(text, *flags):\n"
        "    parsed.append(repr(text))\n"
        "    return parse(text, *flags)\n"
        "re._parser.parse = note\n"
        "def heard(event, told):\n"
        "    if event == 'compile': compiled.append(str(told[0]))\n"
        "sys.addaudithook(heard)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "from anonauth.aws_session import make_session\n"
        "kms = make_session('eu-central-1').create_client('kms',"
        " region_name='eu-central-1', aws_access_key_id='a',"
        " aws_secret_access_key='b')\n"
        "kms.generate_presigned_url('decrypt', Params={'CiphertextBlob': b''})\n"
        "print(json.dumps([parsed, compiled]))\n"
    )

    parsed, compiled = json.loads(run(code, *HANDLERS, *FIRST_REQUEST, bundle=bundle))

    generated = [text for text in compiled if "\\n" in text]  # others are annotations
    assert len(parsed) <= MOST_PATTERNS, parsed
    assert len(generated) <= MOST_SOURCES, generated


def test_given_a_module_of_the_file_then_it_is_as_python_would_have_loaded_it(
    bundle: Path,
) -> None:
    code = (
        "import anonauth.handlers, inspect, json\n"
        "from anonauth import errors, store\n"
        "from anonauth.settings import Settings, SettingsError\n"
        "try: Settings.from_environment({})\n"
        "except SettingsError as exc: line = exc.__traceback__.tb_next.tb_lineno\n"
        "print(json.dumps([errors.__file__, store.__file__, store.__path__,"
        " errors.__spec__.name, store.__package__, errors.__package__,"
        " inspect.getsource(errors), line > 1]))\n"
    )

    found = json.loads(run(code, bundle=bundle))

    errors = bundle / "anonauth/errors.py"
    store = bundle / "anonauth/store"
    assert found == [
        str(errors),
        str(store / "__init__.py"),
        [str(store)],
        "anonauth.errors",
        "anonauth.store",
        "anonauth",
        errors.read_text(),
        True,
    ]
