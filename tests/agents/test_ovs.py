"""nsx-ovs as a process: the switch is there, stays what it was, and ends with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from proxying import policy, until

from nsxdp.lab import Netns, tools

DAEMONS = ("ovsdb-server", "ovs-vswitchd")
RUN = "from nsxdp_agents.ovs.cli import main; main()"

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def directory(netns: Netns) -> Path:
    """Where the switch has its sockets and its database."""
    return netns.directory("nsx-ovs")


@pytest.fixture
def start(netns: Netns, directory: Path) -> Start:
    """Starts nsx-ovs with further options; it is ready on return."""

    def run(*options: str) -> subprocess.Popen[bytes]:
        with (directory / "log").open("ab") as log:
            told = log.tell()
            process = netns.popen(
                [
                    *(sys.executable, "-c", RUN, f"--run-directory={directory}"),
                    *(f"--database={directory}/conf.db", "--node-name=worker", *options),
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": tools.SEARCH_PATH},
            )
        until("it is ready", lambda: "bridge=br-int" in (directory / "log").read_text()[told:])
        return process

    return run


def vsctl(netns: Netns, directory: Path, *arguments: str) -> str:
    command = ["ovs-vsctl", f"--db=unix:{directory}/db.sock", "--retry", "--timeout=15"]
    return netns.run([*command, *arguments]).stdout.strip()


def pid_of(directory: Path, daemon: str) -> int:
    """Its process, as its pidfile says; 0: it says none."""
    try:
        return int((directory / f"{daemon}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def link(netns: Netns) -> str:
    return netns.run(["ip", "-brief", "link", "show", "dev", "br-int"], check=False).stdout


def test_the_bridge_is_there_and_drops_until_an_agent_says_more(
    netns: Netns, directory: Path, start: Start
) -> None:
    process = start("--datapath=netdev")
    columns = ("datapath_type", "fail_mode")
    found = [vsctl(netns, directory, "get", "Bridge", "br-int", column) for column in columns]
    assert found == ["netdev", "secure"]
    name = vsctl(netns, directory, "get", "Open_vSwitch", ".", "external_ids:system-id")
    assert name == "worker"
    flows = netns.run(["ovs-ofctl", "dump-flows", f"unix:{directory}/br-int.mgmt"]).stdout
    assert "actions" not in flows

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not list(directory.glob("*.pid"))


def test_a_bridge_stays_what_it_was(netns: Netns, directory: Path, start: Start) -> None:
    first = start("--datapath=netdev")
    vsctl(netns, directory, "set", "Bridge", "br-int", "external_ids:who=somebody")
    # A container that is killed leaves pidfiles and sockets behind.
    netns.run(["touch", f"{directory}/ovs-vswitchd.9.ctl"])
    daemons = [int(pidfile.read_text()) for pidfile in directory.glob("*.pid")]
    first.kill()
    for daemon in daemons:
        os.kill(daemon, signal.SIGKILL)
    first.wait(30)
    second = start("--datapath=system")
    assert vsctl(netns, directory, "get", "Bridge", "br-int", "external_ids:who") == "somebody"
    assert vsctl(netns, directory, "get", "Bridge", "br-int", "datapath_type") == "netdev"
    assert not (directory / "ovs-vswitchd.9.ctl").exists()
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0


@pytest.mark.parametrize("killed", DAEMONS)
def test_a_daemon_that_is_killed_is_started_again_and_the_other_is_not(
    netns: Netns, directory: Path, start: Start, killed: str
) -> None:
    process = start("--datapath=netdev")
    pids = {name: int((directory / f"{name}.pid").read_text()) for name in DAEMONS}
    os.kill(pids[killed], signal.SIGKILL)
    until("it has another process", lambda: pid_of(directory, killed) not in (0, pids[killed]))
    (other,) = set(DAEMONS) - {killed}
    assert pid_of(directory, other) == pids[other]
    # Both are at work again: what is asked of one comes from the other.
    vsctl(netns, directory, "set", "Bridge", "br-int", "other_config:hwaddr=02:00:00:00:00:01")
    until("the interface is up", lambda: "UP" in link(netns) and "02:00:00:00:00:01" in link(netns))
    assert process.poll() is None
    assert f"daemon={killed}" in (directory / "log").read_text()


def test_the_daemons_have_a_real_time_priority(directory: Path, start: Start) -> None:
    start("--datapath=netdev")

    def in_a_hurry(name: str) -> bool:
        pid = pid_of(directory, name)
        return bool(pid) and policy(pid) == os.SCHED_RR

    for name in DAEMONS:
        until(f"{name} has a real-time priority", lambda name=name: in_a_hurry(name))
    killed = pid_of(directory, "ovs-vswitchd")
    os.kill(killed, signal.SIGKILL)
    until("another is there", lambda: pid_of(directory, "ovs-vswitchd") not in (0, killed))
    until("that one has it too", lambda: in_a_hurry("ovs-vswitchd"))


def test_without_a_real_time_priority(directory: Path, start: Start) -> None:
    start("--datapath=netdev", "--realtime-priority=0")
    assert [policy(pid_of(directory, name)) for name in DAEMONS] == [os.SCHED_OTHER] * 2


def test_a_database_that_is_none_is_an_error_in_one_line(netns: Netns, directory: Path) -> None:
    (directory / "conf.db").write_text("no database\n")
    done = netns.run(
        [
            *(sys.executable, "-c", RUN, f"--run-directory={directory}"),
            f"--database={directory}/conf.db",
        ],
        check=False,
    )
    assert done.returncode == 1
    assert f"nsx-ovs: {directory}/conf.db: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bridge_gets_a_datapath_that_the_machine_has(
    netns: Netns, directory: Path, start: Start
) -> None:
    start()
    made = vsctl(netns, directory, "get", "Bridge", "br-int", "datapath_type")
    asked = netns.run(["ovs-dpctl", "dump-dps"], check=False)
    assert made == ("netdev" if asked.returncode else "system")
