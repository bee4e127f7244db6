"""What is written for people is true: pages that are generated are fresh, examples run as shown."""

import contextlib
import io
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from nsxdp.lab import tools
from nsxdp_agents.kube_proxy.document import CONFIGURATION_KEYS, manual
from nsxdp_agents.kube_proxy.options import Options, read_options

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples() -> dict[str, str]:
    """The Python examples of the README, by the heading they stand under."""
    found = {}
    for section in README.split("\n### ")[1:]:
        heading = section.partition("\n")[0]
        for code in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found[heading] = code
    return found


def test_the_manual_page_is_fresh() -> None:
    page = (ROOT / "docs" / "nsx-kube-proxy.md").read_text()
    assert page == manual(), (
        "stale; write it anew: python -m nsxdp_agents.kube_proxy.document > docs/nsx-kube-proxy.md"
    )


def test_the_configuration_file_of_the_manual_page_can_be_used(tmp_path: Path) -> None:
    (sample,) = re.findall(r"^```yaml\n(.*?)^```$", manual(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "config.yaml"
    file.write_text(sample.replace("/etc/kubernetes/proxy.conf", str(file)))
    options = read_options(file, {})
    assert options.node_name == "node-1"
    assert options.bridge == "br-int"


def test_each_configuration_key_of_the_manual_page_is_understood(tmp_path: Path) -> None:
    defaults = msgspec.structs.asdict(Options())
    content: dict[str, object] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
    }
    for name, key in CONFIGURATION_KEYS.items():
        place = content
        *outer, last = key.split(".")
        for part in outer:
            place = place.setdefault(part, {})  # type: ignore[assignment]
        place[last] = defaults[name]
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    assert set(CONFIGURATION_KEYS) == set(defaults)
    read_options(file, {})


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_names_only_make_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= targets
