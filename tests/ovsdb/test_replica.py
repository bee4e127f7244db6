"""The replica, fed by hand with what a server may say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nsxdp.ovsdb import Batch, Feed, ProtocolError, Replica, Schema, SchemaError, Watch
from nsxdp.ovsdb.replica import Monitor

U = [f"00000000-0000-0000-0000-00000000000{n}" for n in range(10)]
COLUMNS = ("name", "integer", "optional", "integers", "strings", "map", "one", "ref", "refs")
INDEXES = ("name", "map:iface-id", "refs", "optional")


@pytest.fixture
def replica(every_type: dict[str, Any]) -> Replica:
    return Replica(Schema.from_json(every_type), [Watch("T", COLUMNS, indexes=INDEXES)])


def update(replica: Replica, method: str, params: Any) -> None:
    """What a server says, as it says it."""
    replica.update(method, replica.read(method, json.dumps(params).encode()))


def update2(replica: Replica, **rows: Any) -> None:
    """Rows U1, U2 … by ``u1=``, ``u2=`` …"""
    update(replica, "update2", ["Types", {"T": {U[int(k[1])]: v for k, v in rows.items()}}])


def reset(replica: Replica, method: Monitor, result: Any) -> None:
    replica.reset(method, json.dumps(result).encode())


def batches(replica: Replica) -> list[Batch]:
    seen: list[Batch] = []
    replica.subscribe(seen.append)
    return seen


def test_an_inserted_row_has_defaults_where_nothing_is_said(replica: Replica) -> None:
    update2(replica, u1={"insert": {"name": "a", "map": ["map", [["k", "v"]]]}})
    row = replica["T"].get(U[1])
    assert row is not None
    assert (row.name, row.integer, row.optional, row["integers"]) == ("a", 0, None, frozenset())
    assert row.map == {"k": "v"}
    assert repr(row).startswith(f"T({U[1]}: name='a', integer=0")


@pytest.mark.parametrize(
    ("column", "before", "difference", "after"),
    [
        ("integer", 5, 7, 7),
        ("optional", 5, ["set", []], None),
        ("optional", ["set", []], 5, 5),
        ("integers", ["set", [1, 2]], ["set", [2, 3]], {1, 3}),
        ("integers", ["set", [1]], 1, set()),
        ("strings", ["set", ["a"]], ["set", ["b", "c"]], {"a", "b", "c"}),
        (
            "map",
            ["map", [["a", "1"], ["b", "2"]]],
            ["map", [["a", "1"], ["b", "3"], ["c", "4"]]],
            {"b": "3", "c": "4"},
        ),
        ("one", ["map", [["a", 1]]], ["map", [["b", 2]]], {"b": 2}),
        ("one", ["map", [["a", 1]]], ["map", []], {}),
        ("refs", ["uuid", U[1]], ["uuid", U[2]], {U[1], U[2]}),
    ],
)
def test_modify_is_a_difference_where_a_column_holds_several(
    replica: Replica, column: str, before: Any, difference: Any, after: Any
) -> None:
    update2(replica, u1={"insert": {column: before}})
    first = replica["T"].get(U[1])
    assert first is not None
    known = first[column]
    update2(replica, u1={"modify": {column: difference}})
    second = replica["T"].get(U[1])
    assert second is not None
    assert second[column] == after
    assert first[column] == known, "a row never changes"


def test_observers_see_what_was_and_what_is(replica: Replica) -> None:
    seen = batches(replica)
    update2(replica, u1={"insert": {"name": "a"}}, u2={"insert": {"name": "b"}})
    update2(replica, u1={"modify": {"integer": 3}}, u2={"delete": None})
    names = [[(c.old and c.old.name, c.new and c.new.name) for c in b.changes] for b in seen]
    assert names == [[(None, "a"), (None, "b")], [("a", "a"), ("b", None)]]
    [first, _] = seen[1].of("T")
    assert first.old is not None
    assert first.new is not None
    assert (first.old.integer, first.new.integer) == (0, 3)


def test_a_failing_observer_does_not_harm_the_replica(
    replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Batch) -> None:
        raise RuntimeError("observer's own fault")

    replica.subscribe(fail)
    seen = batches(replica)
    update2(replica, u1={"insert": {"name": "a"}})
    assert len(seen) == 1
    assert "observer's own fault" in caplog.text


def test_indexes_follow_the_rows(replica: Replica) -> None:
    table = replica["T"]
    update2(
        replica,
        u1={"insert": {"name": "a", "refs": ["set", [["uuid", U[5]], ["uuid", U[6]]]]}},
        u2={"insert": {"name": "a", "map": ["map", [["iface-id", "default/web"]]], "optional": 4}},
    )
    assert [row.uuid for row in table.by("name", "a")] == [U[1], U[2]]
    assert [row.uuid for row in table.by("refs", U[5])] == [U[1]]
    assert [row.uuid for row in table.by("map:iface-id", "default/web")] == [U[2]]
    assert [row.uuid for row in table.by("optional", 4)] == [U[2]]
    update2(
        replica,
        u1={"modify": {"refs": ["set", [["uuid", U[5]], ["uuid", U[7]]]], "name": "c"}},
        u2={"modify": {"map": ["map", [["iface-id", "default/db"]]], "optional": ["set", []]}},
    )
    assert [row.uuid for row in table.by("name", "a")] == [U[2]]
    assert table.by("refs", U[5]) == []
    assert [row.uuid for row in table.by("refs", U[7])] == [U[1]]
    assert table.one("map:iface-id", "default/web") is None
    assert table.one("map:iface-id", "default/db") == table.get(U[2])
    assert table.by("optional", 4) == []
    for nobody in ("\ud800", 5, None, U[1]):
        assert table.by("name", nobody) == []
    for no_uuid in ("", "\ud800" * 36, "x" * 36):
        assert table.get(no_uuid) is None
        assert no_uuid not in table
    update2(replica, u2={"delete": None})
    assert table.one("map:iface-id", "default/db") is None
    assert table.by("name", "a") == []
    with pytest.raises(SchemaError, match=r"table T has no index integer \(it has: name, "):
        table.by("integer", 1)


def test_columns_are_in_the_order_of_rows(replica: Replica) -> None:
    update2(replica, **{f"u{n}": {"insert": {"name": f"n{n}", "integer": n}} for n in range(5)})
    update2(replica, u2={"delete": None}, u1={"modify": {"integer": 9}})
    table = replica["T"]
    assert table.column("integer") == [row.integer for row in table.rows]
    assert list(table.uuids) == [row.uuid for row in table]
    assert len(table) == 4
    assert U[2] not in table
    with pytest.raises(SchemaError, match=r"column T\.real isn't monitored"):
        table.column("real")


def test_numbers_are_arrays(every_type: dict[str, Any]) -> None:
    columns = ("integer", "real", "boolean", "optional", "integers", "name")
    replica = Replica(Schema.from_json(every_type), [Watch("T", columns)])
    table = replica["T"]
    assert table.array("integer").tolist() == []
    update2(
        replica,
        u1={"insert": {"integer": -5, "real": 1.5, "boolean": True, "optional": 7}},
        u2={"insert": {"integer": 1 << 62}},
        u3={"insert": {"integer": 6, "real": -2}},
    )
    update2(replica, u2={"delete": None}, u4={"insert": {"integer": 8}})
    # U4 has the place that U2 had.
    assert [row.uuid for row in table] == [U[1], U[4], U[3]]
    for name, values, kind in [
        ("integer", [-5, 8, 6], "int64"),
        ("real", [1.5, 0.0, -2.0], "float64"),
        ("boolean", [True, False, False], "bool"),
    ]:
        assert (table.array(name).tolist(), table.array(name).dtype) == (values, kind)
    assert table.array("optional", missing=-1).tolist() == [7, -1, -1]
    for name in ("integers", "name"):
        with pytest.raises(SchemaError, match=rf"column T\.{name} is none of numbers"):
            table.array(name)


def test_rows_that_come_while_one_looks_at_them(replica: Replica) -> None:
    update2(replica, u1={"insert": {}}, u2={"insert": {}})
    looking = iter(replica["T"])
    first = next(looking)
    assert first in replica["T"].rows
    update2(replica, u1={"modify": {"integer": 5}})
    assert next(looking).integer == 0
    assert first not in replica["T"].rows, "it has changed since"
    looking = iter(replica["T"])
    next(looking)
    update2(replica, u3={"insert": {}})
    with pytest.raises(RuntimeError, match="rows of table T came or went meanwhile"):
        next(looking)


def test_references_are_resolved(replica: Replica) -> None:
    both = ["set", [["uuid", U[2]], ["uuid", U[9]]]]
    update2(
        replica,
        u1={"insert": {"name": "a", "ref": ["uuid", U[2]], "refs": both}},
        u2={"insert": {"name": "b"}},
    )
    first, second = (replica["T"].get(U[n]) for n in (1, 2))
    assert first is not None
    assert second is not None
    assert replica.resolve(first, "ref") == [second]
    assert replica.resolve(first, "refs") == [second], "a row that isn't replicated is left out"
    assert replica.resolve(second, "ref") == []
    with pytest.raises(SchemaError, match=r"column T\.name refers to no table"):
        replica.resolve(first, "name")


def test_a_new_snapshot_is_seen_as_its_difference(replica: Replica) -> None:
    rows = {
        U[1]: {"initial": {"name": "a", "integers": ["set", [1, 2]]}},
        U[2]: {"initial": {"name": "b"}},
        U[3]: {"initial": {"name": "c"}},
    }
    reset(replica, "monitor_cond_since", [False, U[0], {"T": rows}])
    seen = batches(replica)
    kept = replica["T"].get(U[1])
    rows[U[1]] = {"initial": {"name": "a", "integers": ["set", [2, 1]]}}
    rows[U[2]] = {"initial": {"name": "B"}}
    del rows[U[3]]
    rows[U[4]] = {"initial": {"name": "d"}}
    reset(replica, "monitor_cond_since", [False, U[0], {"T": rows}])
    [batch] = seen
    assert {(c.old and c.old.name, c.new and c.new.name) for c in batch.changes} == {
        ("b", "B"),
        ("c", None),
        (None, "d"),
    }
    assert replica["T"].get(U[1]) == kept
    reset(replica, "monitor_cond_since", [False, U[0], {"T": rows}])
    assert len(seen) == 1
    reset(replica, "monitor_cond_since", [False, U[0], {}])
    assert len(replica["T"]) == 0


def test_what_was_missed_is_applied_to_what_is_there(replica: Replica) -> None:
    first = {U[1]: {"initial": {"name": "a"}}, U[2]: {"initial": {"name": "b"}}}
    reset(replica, "monitor_cond_since", [False, U[8], {"T": first}])
    assert replica.monitor_params("monitor_cond_since", "x")[-1] == U[8]
    missed = {U[1]: {"modify": {"integers": ["set", [1]]}}, U[2]: {"delete": None}}
    reset(replica, "monitor_cond_since", [True, U[9], {"T": missed}])
    assert [(row.name, row.integers) for row in replica["T"]] == [("a", {1})]
    assert replica.monitor_params("monitor_cond_since", "x")[-1] == U[9]


def test_rfc_7047_updates_give_whole_rows(replica: Replica) -> None:
    reset(replica, "monitor", {"T": {U[1]: {"new": {"name": "a", "integers": ["set", [1, 2]]}}}})
    seen = batches(replica)
    new = {"name": "a", "integers": ["set", [2, 3]]}
    rows = {U[1]: {"old": {"integers": ["set", [1, 2]]}, "new": new}}
    update(replica, "update", ["Types", {"T": rows}])
    assert [row.integers for row in replica["T"]] == [{2, 3}]
    update(replica, "update", ["Types", {"T": {U[1]: {"old": new}}}])
    assert len(replica["T"]) == 0
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("updates", "says"),
    [
        ({"T": {U[2]: {"modify": {"name": "x"}}}}, "modify of row .*2, which isn't there"),
        ({"T": {U[2]: {"delete": None}}}, "delete of row .*2, which isn't there"),
        ({"T": {U[1]: {"modify": {"real": 5}}}}, r"update of T\.real, which isn't monitored"),
        ({"T": {U[1]: {"modify": {"integer": "x"}}}}, r'T\.integer of row .*1: no integer: "x"'),
        ({"T": {U[1]: {"modify": {"map": ["map", [5]]}}}}, r"T\.map of row"),
        ({"T": {U[1]: {"modify": 5}}}, "T"),
        ({"T": {U[1]: {"vanish": None}}}, "not an update of a row"),
        ({"T": {U[1]: {}}}, "not an update of a row"),
        ({"T": {U[1]: None}}, "not an update of a row"),
        ({"T": [1]}, "updates of table T are no object"),
        ({"X": {}}, "an update of table X, which isn't monitored"),
        ([], "table updates are no object"),
        (None, "table updates are no object"),
    ],
)
def test_a_lie_changes_nothing(replica: Replica, updates: Any, says: str) -> None:
    update2(replica, u1={"insert": {"name": "a"}})
    seen = batches(replica)
    before = list(replica["T"].rows)
    if isinstance(updates, dict) and isinstance(updates.get("T"), dict):
        updates = {"T": {U[5]: {"insert": {"name": "true"}}} | updates["T"]}
    with pytest.raises(ProtocolError, match=says):
        update(replica, "update2", ["Types", updates])
    assert list(replica["T"].rows) == before
    assert replica["T"].one("name", "true") is None
    assert seen == []


@pytest.mark.parametrize("result", [None, [], [True, 5, {}], [False, U[0]], {}])
def test_a_broken_answer_to_monitor_is_refused(replica: Replica, result: Any) -> None:
    with pytest.raises(ProtocolError):
        reset(replica, "monitor_cond_since", result)


@pytest.mark.parametrize("params", [None, [], ["Types"], ["Types", 5, {}], {}])
def test_a_broken_notification_is_refused(replica: Replica, params: Any) -> None:
    with pytest.raises(ProtocolError):
        update(replica, "update3", params)


def test_what_cannot_be_watched(every_type: dict[str, Any]) -> None:
    schema = Schema.from_json(every_type)
    for watch, says in [
        (Watch("X"), r"database Types \(schema 1\.2\.3\) has no table X"),
        (Watch("T", ("x",)), "table T has no column x"),
        (Watch("T", ("name",), indexes=("real",)), r"index real: column T\.real isn't monitored"),
        (Watch("T", ("name",), indexes=("name:x",)), r"index name:x: column T\.name is no map"),
        (Watch("T", where=[("x", "==", 1)]), "table T has no column x"),
        (Watch("T", where=[("integer", "~", 1)]), "'~' is no function"),  # type: ignore[list-item]
    ]:
        with pytest.raises(SchemaError, match=says):
            Replica(schema, [watch])
    with pytest.raises(SchemaError, match="only once"):
        Replica(schema, [Watch("T"), Watch("T")])
    with pytest.raises(SchemaError, match="table X isn't monitored"):
        Replica(schema, [])["X"]


def test_another_schema_takes_the_place_of_the_first(
    replica: Replica, every_type: dict[str, Any]
) -> None:
    update2(replica, u1={"insert": {"name": "a"}})
    replica.last_txn_id = U[7]
    replica.adopt(Schema.from_json(every_type))
    assert (len(replica["T"]), replica.last_txn_id) == (1, U[7]), "the same schema"
    seen = batches(replica)
    table = every_type["tables"]["T"]
    columns = table["columns"] | {"integer": {"type": "string"}}
    changed = every_type | {"tables": {"T": table | {"columns": columns}}}
    replica.adopt(Schema.from_json(changed))
    assert len(replica["T"]) == 0
    assert replica.last_txn_id != U[7]
    assert [(c.old and c.old.name, c.new) for b in seen for c in b.changes] == [("a", None)]
    update2(replica, u1={"insert": {"integer": "now text"}})
    assert replica["T"].column("integer") == ["now text"]


class TestFeed:
    async def take(self, feed: Feed) -> list[tuple[Any, Any]]:
        batch = await anext(feed)
        return [(c.old and c.old.integer, c.new and c.new.integer) for c in batch.changes]

    async def test_what_was_not_fetched_becomes_one(self, replica: Replica) -> None:
        with replica.changes() as feed:
            update2(replica, u1={"insert": {"integer": 1}}, u2={"insert": {"integer": 5}})
            update2(replica, u1={"modify": {"integer": 2}}, u2={"delete": None})
            update2(replica, u3={"insert": {"integer": 7}})
            assert await self.take(feed) == [(None, 2), (None, 7)]
            update2(replica, u1={"modify": {"integer": 3}}, u3={"delete": None})
            update2(replica, u1={"modify": {"integer": 4}}, u3={"insert": {"integer": 8}})
            assert await self.take(feed) == [(2, 4), (7, 8)]
            update2(replica, u1={"modify": {"integer": 3}})
            update2(replica, u1={"modify": {"integer": 4}})
            update2(replica, u3={"modify": {"integer": 9}})
            assert await self.take(feed) == [(8, 9)], "what is again as it was isn't told"

    async def test_it_ends_with_the_replica(self, replica: Replica) -> None:
        feed = replica.changes()
        update2(replica, u1={"insert": {"integer": 1}})
        replica.close()
        update2(replica, u2={"insert": {"integer": 2}})
        seen = [batch async for batch in feed]
        assert [c.uuid for b in seen for c in b.changes] == [U[1]]
