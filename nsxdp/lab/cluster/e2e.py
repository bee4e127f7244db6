"""Runs Kubernetes's own end-to-end tests against a cluster."""

import json
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nsxdp.lab import build, tools
from nsxdp.lab.cluster import lists, progress, report
from nsxdp.lab.cluster.cluster import Running
from nsxdp.lab.errors import LabError

_NOT_IN_PARALLEL = (r"\[Serial\]", r"\[Disruptive\]")
"""What the suite's own runs in parallel leave out, too."""


class Results(NamedTuple):
    """What became of the specs, and where the run's files are: see `nsxdp.lab.cluster.report`."""

    specs: list[report.Spec]
    directory: Path

    @property
    def ok(self) -> bool:
        """Whether none failed."""
        return all(spec.ok for spec in self.specs)

    def show(self, console: Console) -> None:
        """Print them as a table, with their number and where the files are."""
        console.print(report.table(self.specs))
        console.print(report.summary(self.specs))
        console.print(f"files: {self.directory}", highlight=False, soft_wrap=True)


def run(
    cluster: Running,
    focus: str,
    *,
    skip: str = "",
    procs: int = 1,
    timeout: float = 3600.0,
    console: Console,
) -> Results:
    """Run the specs whose names match `focus` and not `skip`; what became of them.

    Parameters
    ----------
    focus
        A regular expression, or the name of a list (see `nsxdp.lab.cluster.lists`).
    procs
        How many at a time. With more than one, serial and disruptive specs are left out.
    timeout
        Seconds, after which the suite ends what still runs.
    console
        Where it shows its progress.

    Raises
    ------
    LabError
        The suite could not be run, or no spec has such a name.
    """
    suite, ginkgo, kubectl = (
        build.ensure(name, console) for name in ("e2e.test", "ginkgo", "kubectl")
    )
    focus, skip = lists.named(focus, skip)
    output = cluster.directory / "e2e" / time.strftime("%Y%m%d-%H%M%S")
    output.mkdir(parents=True)
    skips = [skip] if skip else []
    if procs > 1:
        skips += _NOT_IN_PARALLEL
    command = [
        *(str(ginkgo), f"--procs={procs}", f"--timeout={timeout:.0f}s"),
        *("--no-color", "-v", "--silence-skips"),
        *(f"--focus={focus}", *(f"--skip={pattern}" for pattern in skips)),
        *(f"--output-dir={output}", "--json-report=report.json"),
        *(str(suite), "--", "--provider=skeleton", f"--kubectl-path={kubectl}"),
        *(f"--kubeconfig={cluster.environment['KUBECONFIG']}", f"--report-dir={output}"),
        *("--dump-logs-on-failure=false", "--disable-log-dump"),
        f"--num-nodes={len(cluster.nodes)}",
    ]
    log = output / "log"
    with log.open("wb") as said, progress.shown(log, console):
        done = subprocess.run(
            cluster.at_control_plane(command),
            env=cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=(timeout + 120) * tools.slowness(),
            check=False,
        )
    written = output / "report.json"
    if not written.exists():
        raise LabError(f"the suite ended with {done.returncode}; its log ends:\n{tools.tail(log)}")
    found = report.specs(json.loads(written.read_text()))
    if not found:
        raise LabError(
            f"no spec was run: none matches {focus!r}{f' and not {skip!r}' if skip else ''}; "
            f"a regular expression is asked for, in which [ is written \\[; the log: {log}"
        )
    report.write(found, output, _daemon_sets(cluster, kubectl))
    return Results(found, output)


def _daemon_sets(cluster: Running, kubectl: Path) -> list[str]:
    """The names of all that the cluster has: its network is among them."""
    names = "jsonpath={.items[*].metadata.name}"
    asked = [str(kubectl), "get", "daemonsets", "--all-namespaces", f"--output={names}"]
    return tools.run(cluster.at_control_plane(asked), env=cluster.environment).stdout.split()
