"""OVSDB's tables under sanitizers: no JSON may crash them, or leave half of it done."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Core

INTEGER, REAL, BOOLEAN, STRING, UUID, NONE = range(6)
COLUMNS = [
    ("name", STRING, NONE, False, False),
    ("integer", INTEGER, NONE, False, False),
    ("real", REAL, NONE, False, False),
    ("boolean", BOOLEAN, NONE, False, False),
    ("ref", UUID, NONE, False, False),
    ("tag", INTEGER, NONE, True, False),
    ("strings", STRING, NONE, True, True),
    ("reals", REAL, NONE, True, True),
    ("booleans", BOOLEAN, NONE, True, True),
    ("ports", UUID, NONE, True, True),
    ("map", STRING, STRING, True, True),
    ("one", STRING, INTEGER, True, False),
    ("numbers", INTEGER, UUID, False, True),
]
U = [f"00000000-0000-0000-0000-{n:012x}" for n in range(300)]

ROW = {
    "name": "a\N{SNOWMAN}\n",
    "integer": -5,
    "real": 2.5,
    "boolean": True,
    "ref": ["uuid", U[2]],
    "tag": ["set", [7]],
    "strings": ["set", ["b", "a", "", "b" * 300]],
    "reals": ["set", [2, -1.5]],
    "booleans": ["set", [True, False]],
    "ports": ["set", [["uuid", uuid] for uuid in U[250:0:-1]]],
    "map": ["map", [["k", "v"], ["iface-id", "default/web"]]],
    "one": ["map", [["x", 1]]],
    "numbers": ["map", [[3, ["uuid", U[1]]], [-3, ["uuid", U[2]]]]],
}


class Database:
    """A database with one table, T."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.ffi, self.lib = core.ffi, core.lib
        self.db = self.ffi.gc(self.lib.nsx_ovsdb_new(1), self.lib.nsx_ovsdb_free)
        names = [self.ffi.new("char[]", column[0].encode()) for column in COLUMNS]
        columns = self.ffi.new("struct nsx_ovsdb_column[]", len(COLUMNS))
        for place, (_, key, value, optional, many) in enumerate(COLUMNS):
            columns[place] = (names[place], key, value, optional, many)
        self.table = self.lib.nsx_ovsdb_table_new(self.db, b"T", columns, len(COLUMNS))

    def apply(self, text: bytes, *, old: bool = False, snapshot: bool = False) -> str:
        """What is wrong with updates; empty: nothing, they were taken."""
        error = self.core.error()
        failed = self.lib.nsx_ovsdb_apply(
            self.db, not old, snapshot, self.core.exact(text), len(text), self.ffi.NULL, error
        )
        assert not failed or error.position <= len(text)
        return self.core.message(error) if failed else ""

    def rows(self, **rows: Any) -> str:
        """Apply updates of rows 1, 2 …, as ``u1=``, ``u2=`` …"""
        updates = {"T": {U[int(name[1:])]: update for name, update in rows.items()}}
        return self.apply(json.dumps(updates).encode())

    def index(self, name: str, key: bytes | None = None) -> int:
        atom = self.ffi.NULL if key is None else self.atom(STRING, key)
        column = next(n for n, column in enumerate(COLUMNS) if column[0] == name)
        number: int = self.lib.nsx_ovsdb_index_add(self.table, column, atom)
        return number

    def atom(self, kind: int, value: Any) -> Any:
        atom = self.ffi.new("struct nsx_atom *")
        if kind == STRING:
            self._kept = self.core.exact(value)
            atom.string, atom.string_len = self.ffi.cast("char *", self._kept), len(value)
        elif kind == UUID:
            self._kept = self.ffi.new("uint8_t[16]")
            assert self.lib.nsx_uuid_parse(value.encode(), len(value), self._kept)
            atom.uuid = self._kept
        else:
            atom.integer, atom.real, atom.boolean = int(value), float(value), bool(value)
        return atom

    def find(self, index: int, value: Any) -> list[str]:
        """The UUIDs of the rows that an index has under a value."""
        places = self.core.buf()
        kind = self.lib.nsx_ovsdb_index_type(self.table, index)
        self.lib.nsx_ovsdb_index_find(self.table, index, self.atom(kind, value), places)
        found = (
            self.ffi.unpack(
                self.ffi.cast("size_t *", places.data), places.size // self.ffi.sizeof("size_t")
            )
            if places.size
            else []
        )
        return [self.uuid(self.lib.nsx_ovsdb_table_uuid(self.table, place)) for place in found]

    def uuid(self, octets: Any) -> str:
        text = self.ffi.new("char[36]")
        self.lib.nsx_uuid_format(octets, text)
        return bytes(self.ffi.buffer(text)).decode()

    def value(self, uuid: str, column: str) -> list[Any]:
        """The atoms that a row has of a column."""
        place = self.lib.nsx_ovsdb_table_find(self.table, self.atom(UUID, uuid).uuid)
        assert place < self.lib.nsx_ovsdb_table_places(self.table), f"no row {uuid}"
        number = next(n for n, known in enumerate(COLUMNS) if known[0] == column)
        cell = self.lib.nsx_ovsdb_table_cell(self.table, place, number)
        atoms, kind, atom = (
            self.ffi.new(f"{name} *")
            for name in ("struct nsx_atoms", "enum nsx_atom_type", "struct nsx_atom")
        )
        self.lib.nsx_atoms_init(atoms, self.table, number, cell)
        found = []
        while self.lib.nsx_atoms_next(atoms, kind, atom):
            found.append(self._python(kind[0], atom))
        return found

    def _python(self, kind: int, atom: Any) -> Any:
        if kind == STRING:
            return bytes(self.ffi.buffer(atom.string, atom.string_len)).decode()
        if kind == UUID:
            return self.uuid(atom.uuid)
        return (atom.integer, atom.real, bool(atom.boolean))[kind]


@pytest.fixture
def database(core: Core) -> Database:
    return Database(core)


def test_every_kind_of_value(database: Database) -> None:
    assert not database.rows(u1={"insert": ROW}, u2={"insert": {}})
    values = {name: database.value(U[1], name) for name, *_ in COLUMNS}
    assert values == {
        "name": ["a\N{SNOWMAN}\n"],
        "integer": [-5],
        "real": [2.5],
        "boolean": [True],
        "ref": [U[2]],
        "tag": [7],
        "strings": ["", "a", "b", "b" * 300],
        "reals": [-1.5, 2.0],
        "booleans": [False, True],
        "ports": U[1:251],
        "map": ["iface-id", "default/web", "k", "v"],
        "one": ["x", 1],
        "numbers": [-3, U[2], 3, U[1]],
    }
    defaults = {name: database.value(U[2], name) for name, *_ in COLUMNS}
    assert defaults == {name: [] for name, *_ in COLUMNS} | {
        "name": [""],
        "integer": [0],
        "real": [0.0],
        "boolean": [False],
        "ref": [U[0]],
        "numbers": [0, U[0]],
    }


def test_differences_of_large_sets(database: Database) -> None:
    """Which are found by halves, and not kept once for all."""
    chance = random.Random(1)
    assert not database.rows(u1={"insert": {}})
    present: set[str] = set()
    for _ in range(100):
        some = set(chance.sample(U, chance.choice([1, 2, 30])))
        present ^= some
        difference = ["set", [["uuid", uuid] for uuid in some]]
        assert not database.rows(u1={"modify": {"ports": difference}})
        assert database.value(U[1], "ports") == sorted(present)


def test_indexes(database: Database) -> None:
    by_name, by_port = database.index("name"), database.index("ports")
    by_id, by_real = database.index("map", b"iface-id"), database.index("real")
    assert not database.rows(**{f"u{n}": {"insert": ROW | {"integer": n}} for n in range(1, 40)})
    assert database.find(by_name, ROW["name"].encode()) == U[1:40]
    assert not database.rows(
        u3={"modify": {"name": "c", "ports": ["uuid", U[9]], "real": 0.5}}, u5={"delete": None}
    )
    left = [uuid for uuid in U[1:40] if uuid not in (U[3], U[5])]
    assert database.find(by_name, ROW["name"].encode()) == left
    assert database.find(by_name, b"c") == [U[3]]
    assert set(database.find(by_port, U[9])) == set(left)
    assert set(database.find(by_port, U[10])) == {*left, U[3]}
    assert set(database.find(by_id, b"default/web")) == {*left, U[3]}
    assert database.find(by_real, 0.5) == [U[3]]
    assert database.find(by_real, 9) == []
    # One that is made later finds what is there already.
    assert set(database.find(database.index("strings"), b"")) == {*left, U[3]}


def test_places_are_used_again(database: Database) -> None:
    for first in range(1, 200, 20):
        rows = {f"u{n}": {"insert": ROW} for n in range(first, first + 20)}
        assert not database.rows(**rows)
        assert not database.rows(**{name: {"delete": None} for name in rows})
    assert database.lib.nsx_ovsdb_table_rows(database.table) == 0
    assert database.lib.nsx_ovsdb_table_places(database.table) == 20


def test_a_snapshot_has_all_rows(database: Database) -> None:
    assert not database.rows(u1={"insert": ROW}, u2={"insert": ROW})
    snapshot = {"T": {U[2]: {"initial": {"name": "x"}}, U[3]: {"initial": {}}}}
    assert not database.apply(json.dumps(snapshot).encode(), snapshot=True)
    assert database.lib.nsx_ovsdb_table_rows(database.table) == 2
    assert database.value(U[2], "name") == ["x"]
    assert database.value(U[2], "integer") == [0]


def test_updates_of_rfc_7047(database: Database) -> None:
    def update(row: Any) -> str:
        return database.apply(json.dumps({"T": {U[1]: row}}).encode(), old=True)

    assert not update({"new": ROW})
    assert not update({"new": {"name": "b"}, "old": {"name": "a", "x": [{"y": None}]}})
    assert (database.value(U[1], "name"), database.value(U[1], "integer")) == (["b"], [-5])
    assert "not an update of a row" in update({"newer": {}})
    assert not update({"old": {}})
    assert "delete of row" in update({"old": {}})


def test_a_row_twice_in_one_update(database: Database) -> None:
    """Which no server sends, and JSON allows."""
    twice = '{"T": {"%s": {"insert": {"name": "a"}}, "%s": {"insert": {"name": "b"}}}}'
    assert not database.apply((twice % (U[1], U[1])).encode())
    assert database.value(U[1], "name") == ["b"]
    twice = '{"T": {"%s": {"delete": null}, "%s": {"delete": null}}}'
    assert not database.apply((twice % (U[1], U[1])).encode())
    assert database.lib.nsx_ovsdb_table_rows(database.table) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"T": {"x": {"insert": {}}}}', 'no UUID: "x"'),
        (b'{"T": {"%s": {"insert": {"name": "\\u0000"}}}}', "a null character"),
        (b'{"T": {"%s": {"insert": {"name": "\\ud800"}}}}', "half of a surrogate pair"),
        (b'{"T": {"%s": {"insert": {"name": "\\ud800\\u0041"}}}}', "half of a surrogate pair"),
        (b'{"T": {"%s": {"insert": {"name": "\\u00g0"}}}}', "four hexadecimal digits"),
        (b'{"T": {"%s": {"insert": {"name": "\\x"}}}}', "no character to put a backslash before"),
        (b'{"T": {"%s": {"insert": {"name": "\n"}}}}', "a control character in a string"),
        (b'{"T": {"%s": {"insert": {"name": "\xc0\x80"}}}}', "a string that isn't UTF-8"),
        (b'{"T": {"%s": {"insert": {"name": "\xed\xa0\x80"}}}}', "a string that isn't UTF-8"),
        (b'{"T": {"%s": {"insert": {"name": "\xf4\x90\x80\x80"}}}}', "a string that isn't UTF-8"),
        (b'{"T": {"%s": {"insert": {"name": "a', "a string without an end"),
        (b'{"T": {"%s": {"insert": {"name": "\\', "a string without an end"),
        (b'{"T": {"%s": {"insert": {"integer": 01}}}}', "'}' expected|',' expected"),
        (b'{"T": {"%s": {"insert": {"integer": 9223372036854775808}}}}', "no integer: 92"),
        (b'{"T": {"%s": {"insert": {"integer": -}}}}', "no integer: -"),
        (b'{"T": {"%s": {"insert": {"real": 1e999}}}}', "no real number: 1e999"),
        (b'{"T": {"%s": {"insert": {"real": %s}}}}', "no real number: 111"),
        (b'{"T": {"%s": {"insert": {"boolean": truth}}}}', "no boolean: truth"),
        (b'{"T": {"%s": {"delete": %s}}}', "nested too deeply"),
        (b'{"T": {"%s": {"delete": nil}}}', "a number expected"),
        (b'{"T": {}} {}', "the text goes on after its end"),
        (b'{"T": {} "U": {}}', "',' expected"),
        (b'{"T" {}}', "':' expected"),
        (b"", "table updates are no object"),
        (b" \t\r\n", "table updates are no object"),
    ],
)
def test_broken_json(database: Database, text: bytes, says: str) -> None:
    filling = [U[1].encode(), b"1" * 500 if b"real" in text else b"[" * 1000]
    text = text % tuple(filling[: text.count(b"%s")])
    assert not database.rows(u1={"insert": {}})
    error = database.apply(text)
    assert any(part in error for part in says.split("|")), error
    assert database.lib.nsx_ovsdb_table_rows(database.table) == 1


def test_every_truncation_and_every_changed_byte(core: Core) -> None:
    row = {name: value for name, value in ROW.items() if name not in ("ports", "strings")}
    row |= {"ports": ["uuid", U[1]], "strings": ["set", ["b", "a"]]}
    text = json.dumps({"T": {U[1]: {"insert": row}}}).encode()
    database = Database(core)

    def rows() -> int:
        found: int = database.lib.nsx_ovsdb_table_rows(database.table)
        return found

    for size in range(len(text)):
        assert database.apply(text[:size])
        assert not rows()
    for place in range(len(text)):
        for octet in b'"{]\\,:0x\xff':
            changed = text[:place] + bytes([octet]) + text[place + 1 :]
            failed = database.apply(changed)
            assert rows() == (0 if failed else 1)
            assert not database.apply(b"{}", snapshot=True)


def test_nothing_leaks(core: Core) -> None:
    good = json.dumps({"T": {U[1]: {"insert": ROW}}}).encode()
    bad = good[:-3] + b"x}}"

    def work() -> None:
        database = Database(core)
        database.index("ports")
        assert not database.apply(good)
        assert database.apply(bad)
        changes = core.ffi.new("struct nsx_ovsdb_changes *")
        text = json.dumps({"T": {U[1]: {"modify": {"name": "b"}}}}).encode()
        error = core.error()
        assert not core.lib.nsx_ovsdb_apply(database.db, 1, False, text, len(text), changes, error)
        assert changes.n == 1
        core.lib.nsx_ovsdb_changes_uninit(changes)
        core.lib.nsx_ovsdb_table_retire(database.table)

    assert not core.leaks(work, times=100)


@pytest.mark.parametrize("cut", range(1, 9))
def test_where_objects_end_in_a_stream(core: Core, cut: int) -> None:
    objects = [b"{}", b'{"a":"}{\\"\\\\"}', b'{"a":{"b":[{}]},"c":"\xe2\x98\x83 long enough"}']
    stream = b" ".join(objects)
    scan = core.ffi.new("struct nsx_json_scan *")
    ended = core.ffi.new("bool *")
    found, start = [], 0
    for first in range(0, len(stream), cut):
        piece = stream[first : first + cut]
        used = 0
        while used < len(piece):
            rest = piece[used:]
            used += core.lib.nsx_json_scan(scan, core.exact(rest), len(rest), ended)
            if ended[0]:
                found.append(stream[start : first + used].strip())
                start = first + used
    assert found == objects
