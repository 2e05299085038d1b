"""The pages about tests and sample events list what there is."""

import re

from readme import section
from tools import ROOT


def test_given_the_tiers_when_counted_then_the_tests_page_lists_each() -> None:
    rows = re.findall(
        r"^\| `(tests/\w+)` \|", section("tests/README.md", "## Tiers"), re.MULTILINE
    )

    tiers = {
        f"tests/{path.relative_to(ROOT / 'tests').parts[0]}"
        for path in (ROOT / "tests").glob("*/**/test_*.py")
        if "node_modules" not in path.parts
    }
    assert len(rows) == len(set(rows))
    assert set(rows) == tiers
