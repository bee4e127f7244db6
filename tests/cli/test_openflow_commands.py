"""``nsxdp``'s OpenFlow commands, with a real ovs-vswitchd; ovs-ofctl says what is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from nsxdp import cli
from nsxdp.cli._app import app
from nsxdp.lab import OVS

FLOW = "table=1,priority=7,ip,nw_dst=10.0.0.1 actions=LOCAL"
FLOWS = [
    "priority=5,ip actions=resubmit(,1)",
    FLOW,
    "cookie=0x7,table=1,idle_timeout=100,tcp,tp_dst=80 actions=drop",
]
TIMEOUT = 60


class Nsxdp:
    """Runs the command."""

    def __init__(self, **environment: str) -> None:
        self.env = {**os.environ, "COLUMNS": "200", **environment}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from nsxdp.cli import main; main()", *arguments],
            input=stdin,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def nsxdp() -> Nsxdp:
    return Nsxdp()


@pytest.fixture
def on_bridge(ovs: OVS) -> Iterator[Nsxdp]:
    ovs.add_bridge("br0")
    ovs.ofctl("del-flows", "br0")
    yield Nsxdp(OVS_RUNDIR=str(ovs.directory))
    ovs.reset()


def ofctl_hex(*arguments: str) -> list[str]:
    """The bytes that ovs-ofctl -mmmmm shows, one message each."""
    command = ["ovs-ofctl", "-O", "OpenFlow15", "-mmmmm", *arguments]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    messages, last = [], -1
    for line in text.splitlines():
        if found := re.match(r"([0-9a-f]{8})  ((?:[0-9a-f]{2}[ -]){1,16})", line):
            if int(found[1], 16) <= last or last < 0:
                messages.append("")
            last = int(found[1], 16)
            messages[-1] += re.sub("[ -]", "", found[2])
    return messages


def without_xid(message: str) -> str:
    return message[:8] + "00000000" + message[16:]


def test_parse_flows_gives_ovs_ofctl_s_bytes(nsxdp: Nsxdp, tmp_path: Path) -> None:
    path = tmp_path / "flows.txt"
    path.write_text("# a comment\n\n" + "\n".join(FLOWS) + "\n")
    theirs = [without_xid(message) for message in ofctl_hex("parse-flows", str(path))]
    assert nsxdp("parse-flows", "--hex", str(path)).split() == theirs
    assert nsxdp("parse-flows", "--hex", "-", stdin=path.read_text()).split() == theirs


def test_parse_flows_shows_messages(nsxdp: Nsxdp) -> None:
    assert nsxdp("parse-flows", FLOW, f"delete {FLOW.split(' ')[0][:7]}").splitlines() == [
        "OFPT_FLOW_MOD (OF1.5) (xid=0x0): ADD table:1 priority=7,ip,nw_dst=10.0.0.1 actions=LOCAL",
        "OFPT_FLOW_MOD (OF1.5) (xid=0x0): DEL table:1 actions=drop",
    ]
    shown = json.loads(nsxdp("parse-flows", "--json", FLOW))
    assert shown["text"].endswith("actions=LOCAL")
    assert bytes.fromhex(shown["bytes"])[1] == 14


def test_parse_group_and_meter(nsxdp: Nsxdp) -> None:
    group = "group_id=1,type=select,bucket=output:1,bucket=output:2"
    assert nsxdp("parse-group", "--hex", group).split() == [
        without_xid(message) for message in ofctl_hex("parse-group", group)
    ]
    assert "meter=1 pktps bands=\ntype=drop rate=100" in nsxdp(
        "parse-meter", "meter=1,pktps,band=type=drop,rate=100"
    )


def test_a_wrong_word_has_a_caret_under_it(nsxdp: Nsxdp, tmp_path: Path) -> None:
    path = tmp_path / "flows.txt"
    path.write_text(FLOWS[0] + "\ntable=1,ip,nw_dst=10.0.0.300 actions=drop\n")
    done = nsxdp.run("parse-flows", str(path))
    assert done.returncode == 1
    first, text, caret = done.stderr.splitlines()
    assert first.startswith(f"nsxdp: {path}:2: ")
    assert text[caret.index("^") :].startswith("10.0.0.300")


def test_ofp_print(nsxdp: Nsxdp, tmp_path: Path) -> None:
    flow = nsxdp("parse-flows", "--hex", FLOW).strip()
    hello = "0600 0008 00000001"
    expected = subprocess.run(
        ["ovs-ofctl", "ofp-print", flow], capture_output=True, text=True, check=True
    ).stdout
    assert nsxdp("ofp-print", flow) == expected
    path = tmp_path / "messages"
    path.write_text(f"{hello}\n{flow}\n")
    assert nsxdp("ofp-print", "--hex", str(path)).split() == [hello.replace(" ", ""), flow]
    assert "OFPT_HELLO" in nsxdp("ofp-print", "-", stdin=hello)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("06", "message of 1 bytes"),
        ("0", "an odd number"),
        ("hello", "neither hexadecimal bytes nor a file"),
        ("0606000800000001", "OFPT_FEATURES_REPLY: wrong length"),
    ],
)
def test_what_ofp_print_refuses(nsxdp: Nsxdp, text: str, expected: str) -> None:
    done = nsxdp.run("ofp-print", text)
    assert done.returncode == 1
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def comparable(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if "actions=" in line]
    return sorted(re.sub(r"(?:duration|idle_age)=\S+ ", "", line) for line in lines)


def test_flows_come_and_go(on_bridge: Nsxdp, ovs: OVS, tmp_path: Path) -> None:
    path = tmp_path / "flows.txt"
    path.write_text("\n".join(FLOWS))
    on_bridge("add-flows", "br0", str(path))
    assert comparable(on_bridge("dump-flows", "br0")) == comparable(ovs.ofctl("dump-flows", "br0"))
    assert comparable(on_bridge("dump-flows", "br0", "table=1", "--no-stats")) == comparable(
        ovs.ofctl("dump-flows", "--no-stats", "br0", "table=1")
    )
    rows = [json.loads(line) for line in on_bridge("dump-flows", "--json", "br0").splitlines()]
    assert [(row["table"], row["priority"]) for row in rows] == [(0, 5), (1, 32768), (1, 7)]
    assert (rows[2]["match"], rows[2]["actions"]) == ("ip,nw_dst=10.0.0.1", "LOCAL")

    path.write_text("\n".join([FLOWS[0], FLOW.replace("LOCAL", "drop"), "table=9 actions=drop"]))
    differing = on_bridge.run("diff-flows", "br0", str(path))
    theirs = subprocess.run(
        ["ovs-ofctl", "-O", "OpenFlow15", "diff-flows", "br0", str(path)],
        env=ovs.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(differing.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    assert differing.returncode == theirs.returncode == 2
    on_bridge("replace-flows", "br0", str(path))
    assert on_bridge("diff-flows", "br0", str(path)) == ""
    assert on_bridge("diff-flows", str(path), "br0") == ""
    on_bridge("del-flows", "br0", "table=9")
    on_bridge("del-flows", "--strict", "br0", "table=1,priority=7,ip,nw_dst=10.0.0.1")
    assert len(on_bridge("dump-flows", "br0").splitlines()) == 1
    on_bridge("del-flows", "br0")
    assert on_bridge("dump-flows", "br0") == ""


def test_groups(on_bridge: Nsxdp, ovs: OVS) -> None:
    ovs.ofctl("add-group", "br0", "group_id=7,type=select,bucket=output:1,bucket=output:2")
    theirs = ovs.ofctl("dump-groups", "br0").splitlines()[1:]
    assert on_bridge("dump-groups", "br0").splitlines() == theirs
    assert json.loads(on_bridge("dump-groups", "br0", "--json"))["group_id"] == 7


def test_monitor(on_bridge: Nsxdp) -> None:
    on_bridge("add-flows", "br0", FLOW)
    assert on_bridge("monitor", "br0", "-n1") == f"INITIAL {FLOW.replace('1,p', '1, p', 1)}\n"
    update = json.loads(on_bridge("monitor", "br0", "table=1", "-n1", "--json"))
    assert update["event"] == "INITIAL"


def test_trace(on_bridge: Nsxdp, ovs: OVS) -> None:
    on_bridge("add-flows", "br0", *FLOWS)
    packet = "in_port=LOCAL,udp,nw_dst=10.0.0.1"
    assert (
        on_bridge("trace", "br0", packet).strip()
        == ovs.appctl("ofproto/trace", "br0", packet).strip()
    )
    steps = [json.loads(line) for line in on_bridge("trace", "--json", "br0", packet).splitlines()]
    assert [step.get("table") for step in steps] == ["0", "1", None]
    assert "datapath_actions" in steps[-1]


def test_top(on_bridge: Nsxdp) -> None:
    on_bridge("add-flows", "br0", *FLOWS)
    lines = on_bridge("top", "br0", "-n2", "--once").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("packets=0 bytes=0 table=")
    refused = on_bridge.run("top", "br0", "--by", "colour")
    assert refused.returncode == 2
    assert "'packets', 'bytes'" in refused.stderr


def test_what_isn_t_there(nsxdp: Nsxdp, tmp_path: Path) -> None:
    done = Nsxdp(OVS_RUNDIR=str(tmp_path)).run("dump-flows", "br7")
    assert done.returncode == 1
    assert "br7.mgmt" in done.stderr
    assert done.stderr.count("\n") == 1
    missing = nsxdp.run("parse-flows", str(tmp_path / "missing"))
    assert "no such file" in missing.stderr


def test_refusals_name_the_flow(on_bridge: Nsxdp) -> None:
    done = on_bridge.run("add-flows", "br0", "table=3 actions=group:99")
    assert done.returncode == 1
    assert "OFPBAC_BAD_OUT_GROUP" in done.stderr
    assert "group:99" in done.stderr


def test_help_imports_nothing_heavy(nsxdp: Nsxdp) -> None:
    code = (
        "import sys; from nsxdp.cli._app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'msgspec', 'asyncio', 'nsxdp.openflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=nsxdp.env
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_texts_are_shown_without_heavy_imports(nsxdp: Nsxdp) -> None:
    code = (
        "import sys; from nsxdp.cli import main\n"
        "main()\n"
        "heavy = ('typer', 'rich', 'numpy', 'msgspec', 'asyncio', 'dataclasses')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "parse-flows", FLOW],
        capture_output=True,
        text=True,
        check=True,
        env=nsxdp.env,
    )
    assert done.stdout.splitlines()[1:] == ["[]"]
    assert done.stdout.splitlines()[0] == nsxdp("parse-flows", "--", FLOW).strip()


def test_what_can_t_be_printed_comes_after_what_can(nsxdp: Nsxdp) -> None:
    done = nsxdp.run("parse-flows", "actions=drop", "actions=debug_recirc")
    assert done.returncode == 1
    assert done.stdout == nsxdp("parse-flows", "actions=drop")
    assert "unknown action" in done.stderr


@pytest.mark.parametrize("name", [*cli.COMMANDS, *cli.GROUPS])
def test_help_of_each_command(name: str) -> None:
    group = typer.main.get_group(app)
    listed = group.get_command(typer.Context(group), name)
    assert listed is not None
    real = listed.real()
    first = (real.help or "").strip().split("\n\n")[0].replace("\n", " ")
    assert listed.help == re.sub(r" +", " ", first)


def test_completion_knows_commands_and_options() -> None:
    nsxdp = Nsxdp(_NSXDP_COMPLETE="complete_bash", COMP_WORDS="nsxdp dump-", COMP_CWORD="1")
    assert nsxdp.run().stdout.split() == ["dump-flows", "dump-groups"]
    nsxdp = Nsxdp(
        _NSXDP_COMPLETE="complete_bash", COMP_WORDS="nsxdp dump-flows --no", COMP_CWORD="2"
    )
    assert nsxdp.run().stdout.split() == ["--no-stats"]
