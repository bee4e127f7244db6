"""The page of Kubernetes's own tests, written from their results: ``python -m pages.specs``.

Of each spec the last result counts that the lab has. So the page tells of what was run, not of the
code: it is no part of ``make docs``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from nsxdp.lab.build import VERSION
from nsxdp.lab.cluster.cluster import default_directory
from nsxdp.lab.cluster.deploy import DAEMON_SETS
from nsxdp.lab.cluster.lists import LISTS, List
from nsxdp.lab.cluster.report import Spec, newest
from pages.markdown import wrapped
from pages.root import ROOT

__all__ = ["PAGE", "page"]

PAGE = ROOT / "docs/specs.md"

_PARTS = ("conformance", "netpol", "loadbalancer", "network")
"""The lists that have no spec in common."""


def page(found: Iterable[Spec]) -> str:
    """The page that tells of these."""
    chosen = {name: [spec for spec in found if _is_on(LISTS[name], spec)] for name in _PARTS}
    return "\n".join(_lines(chosen)) + "\n"


def _is_on(specs: List, spec: Spec) -> bool:
    skipped = specs.skip and re.search(specs.skip, spec.name)
    return bool(re.search(specs.focus, spec.name)) and not skipped


def _lines(chosen: dict[str, list[Spec]]) -> Iterator[str]:
    yield from ("# Kubernetes's own tests", "", "<!-- Written by: make cluster-page -->", "")
    yield wrapped(
        f"What became of the end-to-end tests of Kubernetes {VERSION} in clusters whose only "
        "network and only proxy are ours, installed by the manifests in `agents/deploy`: three "
        "nodes, six where endpoints shall be near. The nodes are on one machine, and Open "
        "vSwitch's datapath is its own (netdev). How to run them: [A cluster on one machine]"
        "(cluster.md). Seconds are those of all specs of a list one after the other; several run "
        "at a time."
    )
    yield from ("", "| list | what | passed | failed | skipped | seconds |", "| --- " * 6 + "|")
    for name, specs in chosen.items():
        states = Counter(spec.state if spec.ok else "failed" for spec in specs)
        counts = " | ".join(str(states[state]) for state in ("passed", "failed", "skipped"))
        seconds = sum(spec.seconds for spec in specs)
        yield f"| [{name}](#{name}) | {LISTS[name].about} | {counts} | {seconds:.0f} |"
    yield from ("", "## Not passed", "")
    others = [spec for specs in chosen.values() for spec in specs if spec.state != "passed"]
    for spec in sorted(others, key=lambda spec: spec.ok):
        yield f"- {spec.state}: {spec.name}: {' '.join(spec.reason.split())}"
    if not others:
        yield "All passed."
    for name, specs in chosen.items():
        yield from ("", f"## {name}", "", "| result | seconds | spec |", "| --- | ---: | --- |")
        for spec in specs:
            yield f"| {spec.state} | {spec.seconds:.1f} | {spec.name} |"


if __name__ == "__main__":
    results = default_directory() / "e2e"
    found = list(newest(results, DAEMON_SETS))
    if not found:
        raise SystemExit(f"no results in {results}: run: make cluster-test")
    PAGE.write_text(page(found))
