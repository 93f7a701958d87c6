"""The web page: what stands where, for a good package and for one that nobody takes."""

from __future__ import annotations

import re
from pathlib import Path

from test_check import Draft, many, scripts, single

from bmz_ddpm import __version__
from bmz_ddpm.check.findings import CONSUMERS
from bmz_ddpm.check.page import to_html
from bmz_ddpm.check.verdict import check_package


def page_of(draft: Draft, folder: Path) -> str:
    return to_html(check_package(draft.write(folder / "model.zip")))


def test_good_package(many: Draft, tmp_path: Path) -> None:
    """Programs that do not count are marked without alarm; the folder's name stays at home."""
    page = page_of(many, tmp_path)
    answer = "✓ <b>Runs in:</b> Fiji, bioimageio.core 0.11, Model Zoo web page and BioEngine."
    assert f'<p class="answer yes">{answer}</p>' in page
    assert page.count('<span class="mark yes">✓ runs</span>') == 3
    assert page.count('<span class="mark open">✗ does not run</span>') == 2
    assert page.count("no rule is broken") == 3
    assert "nothing was run for it" in page
    assert "Nothing was run: add --run" in page
    assert re.search(rf"model.zip · checked \d{{4}}-.* with bmz-ddpm {__version__}", page)
    assert str(tmp_path) not in page


def test_each_problem_is_there_once_with_its_programs(single: Draft, tmp_path: Path) -> None:
    single.rdf["documentation"] = {"source": "README.md"}
    del single.rdf["tags"]
    page = page_of(single, tmp_path)
    mend = page.split("<h2>What to mend</h2>")[1].split("<h2>")[0]
    first, second = mend.split('<div class="item ')[1:]
    assert first.startswith("blocks")
    assert "✗ blocks</span> Fiji, ilastik 1.4.1 and 1.4.2, QuPath, Model Zoo web page" in first
    assert "<b>Fix:</b> write: documentation: README.md" in first
    assert second.startswith("warns")
    assert "<p>tags: is missing" in second
    assert '<p class="answer no">✗ <b>Runs in:</b> bioimageio.core 0.11. <b>Does not run' in page


def test_page_needs_nothing_else(many: Draft, tmp_path: Path) -> None:
    """It can be mailed and printed: no other file is named, and there is a style for paper."""
    page = page_of(many, tmp_path)
    assert not re.search(r"\b(src|href|url|@import)\b", page)
    assert "@media print" in page
    assert page.count("<tr>") == 1 + len(CONSUMERS)
