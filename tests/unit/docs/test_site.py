"""Docs as web pages: an alert's runbook_url has one behind it, and links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from operators.coursegen_operator.alerts.rules.files import RUNBOOKS, files
from scripts.docs_site import DOCS, SOURCE, build, page
from tests.support.servers import REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages."""
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


def _urls() -> Iterator[str]:
    """Every runbook_url of the files of alerts."""
    for groups in files().values():
        for group in groups:
            yield from (rule["annotations"]["runbook_url"] for rule in group["rules"] if "alert" in rule)


def test_every_runbook_url_leads_to_a_page(site: Path) -> None:
    """GitHub Pages shows X.html for X, below the name of the repository."""
    urls = list(_urls())

    assert len(urls) > 20
    for url in urls:
        assert url.startswith(f"{RUNBOOKS}/")
        path = urlsplit(url).path.removeprefix("/coursegen/")
        assert f'<h1 id="{Path(path).name.lower()}">' in (site / f"{path}.html").read_text(encoding="utf-8")


def test_the_chart_names_the_same_place() -> None:
    """By default."""
    values = yaml.safe_load((REPOSITORY / "charts" / "coursegen" / "values.yaml").read_text(encoding="utf-8"))

    assert values["alerts"]["runbookBaseURL"] == RUNBOOKS


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """To a page and a heading of it, or to a file of the repository."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == len(list(DOCS.rglob("*.md"))) + 1
    for each in pages:
        for target in re.findall(r'href="([^"]+)"', each.read_text(encoding="utf-8")):
            if target.startswith(SOURCE):
                assert (REPOSITORY / target.removeprefix(f"{SOURCE}/").partition("#")[0]).exists(), (each, target)
            elif not target.startswith("http"):
                path, _, heading = target.partition("#")
                file = each.parent / path if path else each
                assert file.is_file(), (each, target)
                assert not heading or f'id="{heading}"' in file.read_text(encoding="utf-8"), (each, target)


def test_every_picture_is_there(site: Path) -> None:
    """The dashboards' as well: each page finds its own beside itself."""
    shown = [
        each.parent / source
        for each in site.rglob("*.html")
        for source in re.findall(r'<img src="([^"]+)"', each.read_text(encoding="utf-8"))
    ]

    assert len(shown) >= 4
    assert [str(each) for each in shown if not each.is_file()] == []


def test_nothing_of_a_page_is_taken_for_a_template() -> None:
    """As a generator of sites would; text stays text."""
    made = page("# A <b>\n\n`{{ $labels.name }}` and `{% raw %}`\n\n| a |\n|---|\n| b |\n", Path("runbooks/A.md"))

    assert "<title>A &lt;b&gt;</title>" in made
    assert "<code>{{ $labels.name }}</code> and <code>{% raw %}</code>" in made
    assert "<td>b</td>" in made
