"""The blocks of README.md that readers copy, each after a comment with its name."""

import re

from tools import ROOT

SERVED_AT = "http://127.0.0.1:8080"


def block(name: str, base_url: str = SERVED_AT) -> str:
    """Return a code block, for a service at another address than README's."""
    text = (ROOT / "README.md").read_text()
    found = re.findall(rf"<!-- {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert len(found) == 1, name
    code: str = found[0]
    return code.replace(SERVED_AT, base_url)
