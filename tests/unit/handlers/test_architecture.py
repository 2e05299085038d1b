"""The bundle of another processor: what is said, and when. tests/runtime runs it."""

import sys
from pathlib import Path

import pytest

from anonauth.handlers._architecture import explain, wrong_architecture

ARM = "Build with PLATFORM=arm64 sam build, or deploy with Architecture=x86_64."
X86 = "Build with PLATFORM=x86_64 sam build, or deploy with Architecture=arm64."


@pytest.mark.parametrize(
    ("built", "machine", "advice"),
    [
        pytest.param("aarch64\n", "aarch64", None, id="ARM on ARM"),
        pytest.param("x86_64\n", "x86_64", None, id="x86 on x86"),
        pytest.param("x86_64\n", "aarch64", ARM, id="x86 on ARM"),
        pytest.param("aarch64\n", "x86_64", X86, id="ARM on x86"),
    ],
)
def test_given_a_bundle_when_it_runs_on_a_machine_then_only_another_one_is_wrong(
    tmp_path: Path, built: str, machine: str, advice: str | None
) -> None:
    built_for = tmp_path / "built-for"
    built_for.write_text(built)

    reason = wrong_architecture(machine, built_for)

    assert (reason is None) == (advice is None)
    assert (reason or "").endswith(advice or "")


def test_given_no_bundle_when_a_module_is_missing_then_the_error_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the local service, and in these tests."""
    monkeypatch.setenv("_HANDLER", "anonauth.handlers.absent.handler")
    failure = ImportError("no module")

    with pytest.raises(ImportError) as raised:
        explain(failure)

    assert raised.value is failure
    assert "anonauth.handlers.absent" not in sys.modules
