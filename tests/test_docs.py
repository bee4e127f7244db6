"""What is written for people is true: pages that are generated are fresh, examples run as shown."""

import contextlib
import functools
import io
import re
from collections import Counter
from pathlib import Path

import pytest

from nsxdp.lab import tools
from nsxdp_agents.kube_proxy.config import read_options
from pages.kube_proxy import manual
from pages.markdown import slug
from pages.written import FOLDERS
from pages.written import PAGES as WRITTEN

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def examples() -> dict[str, str]:
    """The Python examples of the README, by the heading they stand under."""
    found = {}
    for section in README.split("\n### ")[1:]:
        heading = section.partition("\n")[0]
        for code in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found[heading] = code
    return found


@pytest.mark.parametrize("page", WRITTEN)
def test_a_page_that_is_written_from_the_code_is_fresh(page: str) -> None:
    assert (ROOT / page).read_text() == WRITTEN[page](), "stale; write it anew: make docs"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_written_pages_has_no_others(folder: str) -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*")}
    assert found <= set(WRITTEN)


def test_the_configuration_file_of_the_manual_page_can_be_used(tmp_path: Path) -> None:
    (sample,) = re.findall(r"^```yaml\n(.*?)^```$", manual(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "config.yaml"
    file.write_text(sample.replace("/etc/kubernetes/proxy.conf", str(file)))
    options, notes = read_options(file, {})
    assert notes == ()
    assert options.node_name == "node-1"
    assert options.bridge == "br-int"


def test_there_are_examples() -> None:
    assert len(examples()) >= 5


@pytest.mark.parametrize("heading", examples())
def test_an_example_of_the_readme_prints_what_it_says(heading: str) -> None:
    tools.require()
    code = examples()[heading]
    expected = re.findall(r"^#> ?(.*)$", code, re.MULTILINE)
    assert expected
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"README.md: {heading}", "exec"), {"__name__": "__main__"})
    assert printed.getvalue().splitlines() == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]+))?\)", text):
        there = page.parent / target if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


@functools.cache
def anchors(page: Path) -> set[str]:
    """Where a forge lets links lead to: the headings, of equal ones the further ones numbered."""
    found: Counter[str] = Counter()
    names = set()
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        name = slug(heading)
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def test_the_readme_names_only_make_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE))
    assert named
    assert named <= targets
