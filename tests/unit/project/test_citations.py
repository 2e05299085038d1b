"""Each section that a comment or a page cites exists."""

import pytest

from support.project.citations import SIGN, our_pages, texts, wrong_citations

PAGES = {
    "design.md": "# Design\n\n## 4 Data\n\n### 4.1 Items\n\n## 5 Tokens\n",
    "client-api.md": "# API\n\n## 2 Calls\n\n### 2.4 Profile\n\n## 7 Linking\n",
    "README.md": "# anonauth\n\n## Deploy\n",
}


def wrong(text: str, name: str = "functions/anonauth/module.py") -> list[str]:
    """Return what is wrong with a text that has a pilcrow for each section sign.

    With the sign itself, this file would cite sections that do not exist.
    """
    return wrong_citations(text.replace("¶", SIGN), name, PAGES)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# As in design.md ¶4.", id="a page"),
        pytest.param("# As in `design.md` ¶4.1", id="a subsection"),
        pytest.param("# See functions/docs/design.md ¶4", id="a path"),
        pytest.param("See [design.md ¶4](design.md#4-data).", id="a link"),
        pytest.param("See [the data](design.md#4-data).", id="no sign"),
        pytest.param("(design.md ¶5)", id="in brackets"),
        pytest.param("# as it says (client-api.md\n    # ¶2.4).", id="comment"),
        pytest.param('"""Text (client-api.md\n    ¶2.4; more).', id="docstring"),
        pytest.param("// text, client-api.md\n  // ¶7", id="comment in JavaScript"),
        pytest.param("# client-api.md ¶2, ¶7", id="list"),
        pytest.param("# client-api.md ¶2 and ¶7", id="list with a word"),
        pytest.param("# client-api.md ¶2, ¶2.4 and\n# ¶7", id="list on two lines"),
        pytest.param("# A (client-api.md ¶2); B to C (¶7)", id="later in a sentence"),
        pytest.param("# design.md ¶4, client-api.md ¶7", id="two pages"),
        pytest.param("# RFC 7519 ¶4.1.4, ¶9", id="an RFC"),
        pytest.param("# for it (RFC\n# 6750 ¶3)", id="an RFC on two lines"),
        pytest.param("# OpenID Connect Core ¶3.1.3.7", id="OpenID Connect"),
        pytest.param("# OWASP ASVS 5.0 ¶11.4", id="ASVS"),
    ],
)
def test_given_a_citation_of_what_exists_when_checked_then_nothing_is_wrong(
    text: str,
) -> None:
    assert wrong(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("# (¶4)", "no document", id="no name"),
        pytest.param("# the contract ¶4", "no document", id="no page"),
        pytest.param("# House Rules 12 ¶4", "no document", id="unknown document"),
        pytest.param("# RFC ¶4", "no document", id="an RFC without its number"),
        pytest.param("# design.md ¶", "no number", id="no number"),
        pytest.param("# design.md ¶6", "a section", id="no such section"),
        pytest.param("# design.md ¶4.2", "a section", id="no such subsection"),
        pytest.param("# design.md\n# ¶6", "a section", id="on the next line"),
        pytest.param("# design.md ¶4, ¶6", "a section", id="second in a list"),
        pytest.param("# design.md ¶4 and ¶6", "a section", id="after a word"),
        pytest.param("# A (design.md ¶4) and B (¶7)", "a section", id="same sentence"),
        pytest.param("# design.md ¶4. B (¶5)", "no document", id="next sentence"),
        pytest.param("# design.md ¶4\n\n# ¶5", "no document", id="next paragraph"),
        pytest.param("# design.md\n#\n# ¶5", "no document", id="name in another one"),
        pytest.param("# RFC 7519 ¶4 means ¶5", "no document", id="after an RFC"),
        pytest.param("# redesign.md ¶4", "does not exist", id="no such page"),
        pytest.param("# README.md ¶4", "a section", id="a page without numbers"),
    ],
)
def test_given_a_citation_that_leads_nowhere_when_checked_then_it_is_reported(
    text: str, problem: str
) -> None:
    (told,) = wrong(text)

    assert problem in told
    assert told.startswith("functions/anonauth/module.py:")


def test_given_a_wrong_citation_when_reported_then_with_its_line() -> None:
    (told,) = wrong("first\n# design.md ¶4\n# design.md\n# ¶9\n")

    assert told.startswith(f"functions/anonauth/module.py:4: {SIGN}9 ")


@pytest.mark.parametrize(
    ("page", "is_good"),
    [
        pytest.param("functions/docs/design.md", True, id="with numbers"),
        pytest.param("README.md", False, id="without"),
    ],
)
def test_given_a_page_when_it_names_no_page_then_it_means_itself(
    page: str, is_good: bool
) -> None:
    assert (wrong("See ¶4.", page) == []) is is_good


def test_given_the_repository_when_read_then_each_citation_leads_somewhere() -> None:
    pages = our_pages()
    cited = list(texts())

    assert len(cited) > 50  # otherwise the files were not found
    assert [
        each for name, text in cited for each in wrong_citations(text, name, pages)
    ] == []
