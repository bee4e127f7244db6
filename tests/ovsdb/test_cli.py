"""The ``nsxdp ovsdb`` command, with ovs-vsctl beside it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nsxdp.cli.ovsdb import app
from nsxdp.ovsdb import Schema, SchemaError
from nsxdp.ovsdb.text import find_table, format_value, parse_value

PATIENCE = 20.0

Run = Callable[..., str]


@pytest.fixture
def run(server: Any) -> Run:
    server.vsctl("--no-wait", "add-br", "br0", "--", "add-br", "br1")

    def run(*words: str, fails: bool = False, stdin: str | None = None) -> str:
        done = CliRunner().invoke(app, ["--db", server.remote, *words], input=stdin)
        assert done.exit_code == (1 if fails else 0), done.output
        return done.stderr if fails else done.stdout

    return run


def test_a_row_is_shown_as_ovs_vsctl_shows_it(run: Run, server: Any) -> None:
    run(
        "set",
        "Bridge",
        "br0",
        "other_config:a=x y",
        'external_ids={k=v, "q r"=5}',
        "stp_enable=true",
    )
    for words in (["Bridge", "br0"], ["Port", "br1"], ["Open_vSwitch", "."], ["Interface", "br0"]):
        assert run("list", *words) == server.vsctl("list", *words)
    assert run("get", "Bridge", "br0", "other_config:a", "name", "_uuid") == server.vsctl(
        "get", "Bridge", "br0", "other_config:a", "name", "_uuid"
    )
    columns = run("list", "br", "br1", "--columns", "name,fail-mode")
    assert columns == "name                : br1\nfail_mode           : []\n"


def test_values_that_ovs_vsctl_sets_are_read_and_the_other_way_round(run: Run, server: Any) -> None:
    server.vsctl(
        *("--no-wait", "set", "Bridge", "br0", "flood_vlans=[5,7]", "fail_mode=secure"),
        *("protocols=OpenFlow15,OpenFlow10", 'other_config={a="b c",d=e}'),
    )
    assert run("get", "Bridge", "br0", "flood_vlans", "fail_mode", "other_config").splitlines() == [
        "[5, 7]",
        "secure",
        '{a="b c", d=e}',
    ]
    run("set", "Bridge", "br0", "flood_vlans=9", "fail_mode=[]", "other_config:d=f=g,h")
    run("add", "Bridge", "br0", "protocols", "OpenFlow13")
    run("remove", "Bridge", "br0", "other_config", "a")
    run("remove", "Bridge", "br0", "protocols", "OpenFlow15", "OpenFlow10")
    got = server.vsctl("get", "Bridge", "br0", "flood_vlans", "fail_mode", "protocols")
    assert got.splitlines() == ["[9]", "[]", "[OpenFlow13]"]
    assert server.vsctl("get", "Bridge", "br0", "other_config") == '{d="f=g,h"}\n'


def test_rows_are_found_by_conditions(run: Run) -> None:
    run("set", "Interface", "br1", "mtu_request=1400", "external_ids:a=1")

    def found(*conditions: str) -> list[str]:
        return run("find", "Interface", *conditions, "--columns=name", "--json").splitlines()

    assert found("type=internal", "mtu_request>1000") == ['{"name": "br1"}']
    assert found("external_ids:a=1") == ['{"name": "br1"}']
    assert found("external_ids:a!=1") == ['{"name": "br0"}']
    assert found("external_ids{>=}{a=1}") == ['{"name": "br1"}']
    assert found("mtu_request<=1399") == []


def test_rows_are_made_and_deleted(run: Run, server: Any) -> None:
    run("destroy", "Bridge", "nobody", "--if-exists")
    row = server.vsctl("get", "Bridge", "br0", "_uuid").strip()
    assert run("get", "Bridge", row[:8], "name") == "br0\n"
    assert run("list", "Bridge", "nobody", "--if-exists") == ""
    assert run("get", "Bridge", "br0", "external_ids:x", "--if-exists") == "\n"
    made = run("create", "Queue", "dscp=5", "other_config:a=1").strip()
    assert run("get", "Queue", made, "dscp", "other_config") == '5\n{a="1"}\n'
    run("destroy", "Queue", made)
    assert run("list", "Queue") == ""


def test_json_is_for_scripts(run: Run) -> None:
    run("set", "Bridge", "br1", "flood_vlans=[1,2]", "external_ids:a=b")
    [row] = [json.loads(t) for t in run("list", "Bridge", "br1", "--json").splitlines()]
    assert (row["name"], row["flood_vlans"], row["external_ids"], row["fail_mode"]) == (
        "br1",
        [1, 2],
        {"a": "b"},
        None,
    )
    tables = {json.loads(text)["table"] for text in run("dump", "--json").splitlines()}
    assert tables == {"Bridge", "Interface", "Open_vSwitch", "Port"}
    assert "Bridge table\n_uuid " in run("dump")
    assert run("dump", "Bridge", "--columns=name").count("name") == 2


def test_operations_are_passed_on(run: Run) -> None:
    select = '{"op":"select","table":"Bridge","where":[["name","==","br0"]],"columns":["name"]}'
    for text in (select, f"[{select}]", f'["Open_vSwitch",{select}]'):
        assert json.loads(run("transact", text)) == [{"rows": [{"name": "br0"}]}]
    assert json.loads(run("transact", "-", stdin=select)) == [{"rows": [{"name": "br0"}]}]
    run("transact", '{"op":"select","table":"x","where":[]}', fails=True)
    assert "are no JSON" in run("transact", "[", fails=True)


def test_databases_and_schemas(run: Run) -> None:
    assert run("list-dbs") == "Open_vSwitch\n_Server\n"
    assert "Bridge" in run("schema").splitlines()
    bridge = run("schema", "bridge")
    assert "optional secure | standalone" in bridge
    assert "set of 0 to any number Port (strong reference)" in bridge
    assert "string, never changes" in bridge
    assert json.loads(run("schema", "--json"))["name"] == "Open_vSwitch"
    assert (
        run("--database", "_Server", "get", "Database", "Open_vSwitch", "model") == "standalone\n"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "Brigde"], "database Open_vSwitch has no table Brigde (it has: AutoAttach, "),
        (["list", "Bridge", "br9"], "no row br9 in table Bridge; see them with: nsxdp ovsdb list"),
        (["get", "Bridge", "br0", "nmae"], "table Bridge has no column nmae (it has: auto_attach"),
        (["get", "Bridge", "br0", "st"], "table Bridge: st may be: status, stp_enable"),
        (["get", "Bridge", "br0", "external_ids:x"], "no key x in Bridge.external_ids of br0"),
        (["get", "Bridge", "br0", "name:x"], "Bridge.name is no map: it has no key x"),
        (["set", "Bridge", "br0", "fail_mode=x"], "Bridge.fail_mode: 'x' is none of: secure, stan"),
        (["set", "Bridge", "br0", "name=x"], "Bridge.name: can't be changed once its row is there"),
        (["set", "Bridge", "br0", "flood_vlans=x"], "Bridge.flood_vlans: 'x' is no integer"),
        (["set", "Bridge", "br0", "flood_vlans=[4"], "] is missing at the end"),
        (["set", "Bridge", "br0", "external_ids=x"], "is no map: write its members as KEY=VALUE"),
        (["set", "Bridge", "br0", "external_ids"], "write COLUMN[:KEY]VALUE with one of ="),
        (["--database", "x", "list", "y"], "has no database x (it has: Open_vSwitch, _Server)"),
        (["--db", "unix:/nowhere.sock", "list-dbs"], "no such socket: is its server running?"),
        (["--db", "nowhere", "list-dbs"], "must start with 'unix:', 'tcp:' or 'ssl:'"),
    ],
)
def test_errors_are_one_line_with_the_way_out(run: Run, words: list[str], says: str) -> None:
    told = " ".join(run(*words, fails=True).split("\n")).replace("  ", " ")
    assert told.startswith("nsxdp ovsdb: ")
    assert says.replace(" ", "") in told.replace(" ", "")


class Following:
    """A command that runs until we end it."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from nsxdp.cli import main; main()", "ovsdb", *words],
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], PATIENCE)
        assert ready, "it says nothing"
        return output.readline().rstrip("\n")

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def following(server: Any) -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def start(*words: str) -> Following:
        started.append(Following("--db", server.remote, *words))
        return started[-1]

    yield start
    for command in started:
        command.end()


def test_changes_are_followed(run: Run, server: Any, following: Any) -> None:
    words = ("monitor", "Bridge", "--columns=name,fail_mode", "--where", "name=br1")
    plain, scripted = following(*words), following(*words, "--json")
    uuid = server.vsctl("get", "Bridge", "br1", "_uuid").strip()
    assert plain.line() == f"insert {uuid} name=br1 fail_mode=[]"
    assert json.loads(scripted.line())["change"] == "insert"
    run("set", "Bridge", "br0", "fail_mode=secure")
    run("set", "Bridge", "br1", "fail_mode=secure")
    assert plain.line() == f"modify {uuid} fail_mode=secure"
    assert json.loads(scripted.line()) == {"change": "modify", "uuid": uuid, "fail_mode": "secure"}
    server.vsctl("--no-wait", "del-br", "br1")
    assert plain.line() == f"delete {uuid} name=br1 fail_mode=secure"


def test_a_lock_is_held_until_it_is_stolen(following: Any) -> None:
    first = following("lock", "x")
    assert first.line() == "locked"
    second = following("lock", "x", "--steal")
    assert second.line() == "locked"
    assert first.line() == "lost"
    second.end()
    assert first.line() == "locked"


@pytest.mark.parametrize(
    ("column", "text", "value", "shown"),
    [
        ("integers", "3 1,2", [3, 1, 2], "[1, 2, 3]"),
        ("integers", "[]", [], "[]"),
        ("optional", "[]", None, "[]"),
        ("optional", "[5]", 5, "5"),
        ("string", "two words", "two words", '"two words"'),
        ("string", '"q\\"x"', 'q"x', '"q\\"x"'),
        ("string", "true", "true", '"true"'),
        ("string", "", "", '""'),
        ("map", "{a=b,c = d}", {"a": "b", "c": "d"}, "{a=b, c=d}"),
        ("map", '"k=1"="v,2"', {"k=1": "v,2"}, '{"k=1"="v,2"}'),
        ("boolean", "true", True, "true"),
        ("real", "1.50", 1.5, "1.5"),
    ],
)
def test_values_as_text(
    every_type: dict[str, Any],
    read_value: Any,
    column: str,
    text: str,
    value: Any,
    shown: str,
) -> None:
    known = Schema.from_json(every_type).table("T").column(column)
    assert parse_value(known, text) == value
    decoded = read_value(column, known.encode(value))
    assert format_value(known.type, decoded) == shown
    again = parse_value(known, shown)
    assert read_value(column, known.encode(again)) == decoded


@pytest.mark.parametrize(
    ("column", "text"),
    [("integers", "[1"), ("map", "{a}"), ("map", "a=b,a=c"), ("optional", "[1,2]"), ("map", ",")],
)
def test_texts_that_are_no_values(every_type: dict[str, Any], column: str, text: str) -> None:
    known = Schema.from_json(every_type).table("T").column(column)
    with pytest.raises(SchemaError, match=rf"^T\.{column}: "):
        parse_value(known, text)


def test_tables_are_found_by_their_beginning() -> None:
    schema = Schema.from_json(
        json.loads(Path("/usr/share/openvswitch/vswitch.ovsschema").read_text())
    )
    assert find_table(schema, "br").name == "Bridge"
    assert find_table(schema, "open-vswitch").name == "Open_vSwitch"
    with pytest.raises(SchemaError, match="may be: Flow_Sample_Collector_Set, Flow_Table"):
        find_table(schema, "flow")
