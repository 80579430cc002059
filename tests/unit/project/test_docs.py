"""The links of the documents."""

import json
import re
from pathlib import Path

import pytest

from deployments.domain.metadata_filters import parse_filter

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_has_a_target(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_metadata_filters_of_the_reference_are_accepted_or_refused_as_it_says() -> None:
    text = (ROOT / "docs" / "reference" / "filters.md").read_text(encoding="utf-8")
    accepted, refused = text.split("## What is refused")
    filters = [
        [json.loads(value) for value in re.findall(r"^\| `(\{.*?\})` \|", part, re.MULTILINE)]
        for part in (accepted, refused)
    ]
    assert [len(part) > 5 for part in filters] == [True, True]
    for value in filters[0]:
        parse_filter(value)
    for value in filters[1]:
        with pytest.raises(ValueError):
            parse_filter(value)


def anchors(document: Path) -> set[str]:
    """The anchors of the document's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
