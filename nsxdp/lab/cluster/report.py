"""What became of specs of Kubernetes's end-to-end tests: as a table, and as files.

A run's files are in a directory of its own: ``results.json`` and ``junit.xml`` have the specs that
were chosen, and ``log`` and ``report.json`` all that the suite and ginkgo say.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.table import Table

RESULTS = "results.json"
"""Of a run: what became of the specs that were chosen."""

_LONGEST_REASON = 300
_NOT_IN_XML = {code: "\ufffd" for code in range(0x20) if chr(code) not in "\t\n\r"}


@dataclass(frozen=True)
class Spec:
    """What became of one spec.

    Attributes
    ----------
    name
        All its texts, from the outermost container's on.
    state
        ``passed``, ``failed``, ``skipped``, ``timedout``, ``panicked``, ``interrupted``.
    seconds
        How long it ran.
    reason
        Why it did not pass; empty if it did.
    where
        The line of the suite that found that out; empty if it passed.
    """

    name: str
    state: str
    seconds: float
    reason: str = ""
    where: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: a spec that is skipped tests what the cluster has not."""
        return self.state in ("passed", "skipped")


def specs(report: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """The specs of a report that ginkgo wrote as JSON: those that were chosen."""
    found = []
    for suite in report:
        for entry in suite["SpecReports"] or ():
            failure = entry.get("Failure") or {}
            reason = failure.get("Message", "").strip()
            chosen = entry["State"] not in ("skipped", "pending") or reason
            if entry["LeafNodeType"] != "It" or not chosen:
                continue
            texts = [*(entry["ContainerHierarchyTexts"] or ()), entry["LeafNodeText"]]
            seconds = entry["RunTime"] / 1e9
            found.append(Spec(" ".join(texts), entry["State"], seconds, reason, _line(failure)))
    return found


def _line(failure: Mapping[str, Any]) -> str:
    place = failure.get("Location") or {}
    file = place.get("FileName", "").partition("/test/e2e/")[2]
    return f"test/e2e/{file}:{place['LineNumber']}" if file else ""


def style(state: str) -> str:
    """The colour that a state is shown in."""
    return {"passed": "green", "skipped": "yellow"}.get(state, "red")


def plain(text: str) -> str:
    """A text whose brackets are no markup: specs' names have many."""
    return text.replace("[", r"\[")


def table(found: Iterable[Spec]) -> Table:
    """A line for each spec, those that failed first; below one that didn't pass, why."""
    shown = Table(show_edge=False)
    shown.add_column("result")
    shown.add_column("seconds", justify="right")
    shown.add_column("spec", overflow="fold")
    for spec in sorted(found, key=lambda spec: (spec.ok, spec.name)):
        text = spec.name
        if spec.reason:
            text += f"\n  {' '.join(spec.reason.split())[:_LONGEST_REASON]}"
        if not spec.ok and spec.where:
            text += f"\n  {spec.where}"
        shown.add_row(f"[{style(spec.state)}]{spec.state}", f"{spec.seconds:.1f}", plain(text))
    return shown


def summary(found: Iterable[Spec]) -> str:
    """``47 passed, 1 failed``."""
    states = Counter(spec.state for spec in found)
    return ", ".join(f"{number} {state}" for state, number in states.most_common())


def write(found: Sequence[Spec], directory: Path, daemon_sets: Iterable[str] = ()) -> None:
    """Write ``results.json``, which also has the cluster's DaemonSets, and ``junit.xml``."""
    said = {
        "summary": Counter(spec.state for spec in found),
        "daemonSets": sorted(daemon_sets),
        "specs": [asdict(spec) for spec in found],
    }
    (directory / RESULTS).write_text(json.dumps(said, indent=1) + "\n")
    ElementTree.ElementTree(_junit(found)).write(
        directory / "junit.xml", encoding="utf-8", xml_declaration=True
    )


def newest(directory: Path, daemon_sets: Iterable[str]) -> list[Spec]:
    """What became of each spec when it last ran in a cluster with these DaemonSets.

    The runs' files are in `directory`.
    """
    wanted = set(daemon_sets)
    found: dict[str, Spec] = {}
    for path in sorted(directory.glob(f"*/{RESULTS}")):
        run = json.loads(path.read_text())
        if not wanted <= set(run.get("daemonSets", ())):
            continue
        for entry in run["specs"]:
            spec = Spec(**entry)
            # Elsewhere there may be what it needs: more nodes.
            if spec.state != "skipped" or spec.name not in found:
                found[spec.name] = spec
    return sorted(found.values(), key=lambda spec: spec.name)


def _junit(found: Sequence[Spec]) -> ElementTree.Element:
    skipped = sum(spec.state == "skipped" for spec in found)
    counts = {
        "tests": str(len(found)),
        "failures": str(sum(not spec.ok for spec in found)),
        "skipped": str(skipped),
        "time": f"{sum(spec.seconds for spec in found):.3f}",
    }
    suite = ElementTree.Element("testsuite", {"name": "Kubernetes e2e suite", **counts})
    for spec in found:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": "e2e", "name": spec.name, "time": f"{spec.seconds:.3f}"},
        )
        if spec.state != "passed":
            kind = "skipped" if spec.ok else "failure"
            reason = spec.reason.translate(_NOT_IN_XML)
            said = ElementTree.SubElement(case, kind, {"message": reason.partition("\n")[0]})
            if not spec.ok:
                said.set("type", spec.state)
                said.text = "\n".join(filter(None, (reason, spec.where)))
    return suite
