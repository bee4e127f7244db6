"""Kubernetes's own end-to-end tests, run against a cluster: which specs passed, and why not."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from nsxdp.lab import build, tools
from nsxdp.lab.cluster.cluster import Running
from nsxdp.lab.errors import LabError

_NOT_IN_PARALLEL = (r"\[Serial\]", r"\[Disruptive\]")
"""What the suite's own runs in parallel leave out, too."""

_LONGEST_REASON = 300


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
    """

    name: str
    state: str
    seconds: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: a spec that is skipped tests what the cluster has not."""
        return self.state in ("passed", "skipped")


def specs(report: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """The specs of a report that ginkgo wrote as JSON: those that were chosen."""
    found = []
    for suite in report:
        for entry in suite["SpecReports"] or ():
            reason = (entry.get("Failure") or {}).get("Message", "").strip()
            chosen = entry["State"] not in ("skipped", "pending") or reason
            if entry["LeafNodeType"] != "It" or not chosen:
                continue
            texts = [*(entry["ContainerHierarchyTexts"] or ()), entry["LeafNodeText"]]
            name = " ".join(texts)
            found.append(Spec(name, entry["State"], entry["RunTime"] / 1e9, reason))
    return found


def table(found: Iterable[Spec]) -> Table:
    """A line for each spec; below one that didn't pass, why."""
    shown = Table(show_edge=False)
    shown.add_column("result")
    shown.add_column("seconds", justify="right")
    shown.add_column("spec", overflow="fold")
    for spec in sorted(found, key=lambda spec: (spec.ok, spec.name)):
        style = "green" if spec.state == "passed" else "yellow" if spec.ok else "red"
        text = spec.name
        if spec.reason:
            text += f"\n  {' '.join(spec.reason.split())[:_LONGEST_REASON]}"
        # What specs are called has brackets, which are no markup.
        shown.add_row(f"[{style}]{spec.state}", f"{spec.seconds:.1f}", text.replace("[", r"\["))
    return shown


def run(
    cluster: Running,
    focus: str,
    *,
    skip: str = "",
    procs: int = 1,
    timeout: float = 3600.0,
    console: Console,
) -> list[Spec]:
    """Run the specs whose names match `focus` and not `skip`; what became of them.

    Parameters
    ----------
    procs
        How many at a time. With more than one, serial and disruptive specs are left out.
    timeout
        Seconds, after which the suite ends what still runs.
    console
        Where the programs' build shows its progress.

    Raises
    ------
    LabError
        The suite could not be run, or no spec has such a name.
    """
    suite, ginkgo, kubectl = (
        build.ensure(name, console) for name in ("e2e.test", "ginkgo", "kubectl")
    )
    output = cluster.directory / "e2e" / time.strftime("%Y%m%d-%H%M%S")
    output.mkdir(parents=True)
    skips = [skip] if skip else []
    if procs > 1:
        skips += _NOT_IN_PARALLEL
    command = [
        *(str(ginkgo), f"--procs={procs}", "--no-color", f"--timeout={timeout:.0f}s"),
        *(f"--focus={focus}", *(f"--skip={pattern}" for pattern in skips)),
        *(f"--output-dir={output}", "--json-report=report.json"),
        *(str(suite), "--", "--provider=skeleton", f"--kubectl-path={kubectl}"),
        *(f"--kubeconfig={cluster.environment['KUBECONFIG']}", f"--report-dir={output}"),
        *("--dump-logs-on-failure=false", "--disable-log-dump"),
    ]
    log = output / "log"
    with log.open("wb") as said, console.status(f"specs; their log is {log}"):
        done = subprocess.run(
            cluster.at_control_plane(command),
            env=cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=(timeout + 120) * tools.slowness(),
            check=False,
        )
    report = output / "report.json"
    if not report.exists():
        raise LabError(f"the suite ended with {done.returncode}; its log ends:\n{tools.tail(log)}")
    found = specs(json.loads(report.read_text()))
    if not found:
        raise LabError(f"no spec was run: none matches {focus}, or see {log}")
    return found


def summary(found: Iterable[Spec]) -> str:
    """``47 passed, 1 failed``."""
    states = Counter(spec.state for spec in found)
    return ", ".join(f"{number} {state}" for state, number in states.most_common())
