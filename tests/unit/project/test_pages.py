"""Tables on the pages list everything that exists."""

import re

from anonauth.provider_settings.schema import PasswordBudgets
from support.project import sam_template
from support.project.pages import rows_of
from support.project.tools import ROOT


def test_given_the_tiers_when_counted_then_the_tests_page_lists_each() -> None:
    listed = [row[0].strip("`") for row in rows_of("tests/README.md", "## Tiers")]

    tiers = {
        f"tests/{path.relative_to(ROOT / 'tests').parts[0]}"
        for path in (ROOT / "tests").glob("*/**/test_*.py")
        if "node_modules" not in path.parts
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == tiers


def test_given_the_sample_events_then_the_page_lists_each_with_its_function() -> None:
    rows = rows_of("events/README.md", "## The files")
    listed = [tuple(cell.strip("`") for cell in row[:2]) for row in rows]

    names = {path.stem for path in sam_template.EVENTS.glob("*.json")} - {"env.local"}
    assert len(listed) == len(set(listed))
    assert set(listed) == {
        (f"{name}.json", sam_template.function_of(name)) for name in names
    }


def test_given_the_events_page_then_what_it_says_is_filled_in_has_a_placeholder() -> (
    None
):
    """An address needs no placeholder: the reader replaces `ada@example.com`."""
    for file, _, _, filled in rows_of("events/README.md", "## The files"):
        text = (sam_template.EVENTS / file.strip("`")).read_text()

        is_filled = "REPLACE_WITH" in text or "ada@example.com" in text

        assert (filled != "nothing") == is_filled, file


def test_given_the_rate_limits_when_read_then_they_are_the_defaults() -> None:
    parameters = sam_template.load()["Parameters"]
    defaults = {name: each["Default"] for name, each in parameters.items()}
    defaults |= {
        name: getattr(PasswordBudgets(), name)
        for name in PasswordBudgets.__struct_fields__
    }
    rows = [
        (int(default.split()[0]), re.findall(r"`(\w+)`", setting)[0])
        for _, default, _, setting in rows_of("abuse.md", "## The limits")
        if default[0].isdigit()
    ]

    assert len(rows) == 6
    assert rows == [(int(defaults[name]), name) for _, name in rows]
