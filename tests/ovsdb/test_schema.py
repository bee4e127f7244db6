"""Types of columns: from JSON to Python and back (RFC 7047, 3.2 and 5.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsxdp.ovsdb.errors import ProtocolError, SchemaError
from nsxdp.ovsdb.schema import BaseType, Column, ColumnType, Schema
from nsxdp.ovsdb.transaction import Transaction

U1 = "550e8400-e29b-41d4-a716-446655440000"
U2 = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

ReadValue = Callable[[str, Any], Any]


@pytest.fixture(scope="module")
def columns(every_type: dict[str, Any]) -> dict[str, Column]:
    return dict(Schema.from_json(every_type).table("T").columns)


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("integer", -5, -5),
        ("integer", ["set", [7]], 7),
        ("real", 1, 1.0),
        ("real", 2.5, 2.5),
        ("boolean", True, True),
        ("string", "x", "x"),
        ("optional", ["set", []], None),
        ("optional", 5, 5),
        ("optional", ["set", [5]], 5),
        ("integers", ["set", [1, 2]], frozenset({1, 2})),
        ("integers", 3, frozenset({3})),
        ("integers", ["set", []], frozenset()),
        ("strings", ["set", ["uuid", "b"]], frozenset({"uuid", "b"})),
        ("map", ["map", [["a", "b"], ["c", "d"]]], {"a": "b", "c": "d"}),
        ("map", ["map", []], {}),
        ("ref", ["uuid", U1], U1),
        ("ref", ["set", [["uuid", U1]]], U1),
        ("ref", ["set", []], None),
        ("refs", ["uuid", U1], frozenset({U1})),
        ("refs", ["set", [["uuid", U1], ["uuid", U2]]], frozenset({U1, U2})),
        ("named", ["map", [["a", ["uuid", U1]]]], {"a": U1}),
        ("_uuid", ["uuid", U1], U1),
        ("integers", ["set", [3, 1, -2]], frozenset({1, 3, -2})),
        ("strings", ["set", ["b", "", "a"]], frozenset({"", "a", "b"})),
        ("string", '\N{SNOWMAN}\N{WOMAN}\n"\\/', '\N{SNOWMAN}\N{WOMAN}\n"\\/'),
    ],
)
def test_json_is_read(
    columns: dict[str, Column], read_value: ReadValue, column: str, text: Any, value: Any
) -> None:
    decoded = read_value(column, text)
    assert decoded == value
    assert isinstance(decoded, MappingProxyType if isinstance(value, dict) else type(value))
    assert read_value(column, columns[column].encode(value)) == value


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("integer", "5"),
        ("integer", True),
        ("integer", 1.5),
        ("integer", None),
        ("integer", ["set", []]),
        ("real", "x"),
        ("boolean", 1),
        ("string", 5),
        ("string", ["set", ["a", "b"]]),
        ("optional", ["set", [1, 2]]),
        ("optional", ["set", 1]),
        ("integers", ["set", ["a"]]),
        ("integers", ["set"]),
        ("map", ["map", [["a"]]]),
        ("map", ["map", [["a", 1]]]),
        ("map", {}),
        ("ref", U1),
        ("ref", ["named-uuid", U1]),
        ("refs", ["set", [["uuid", 5]]]),
        ("refs", ["set", [["uuid", "5"]]]),
        ("integers", ["set", [1, 2, 1]]),
        ("map", ["map", [["a", "1"], ["a", "2"]]]),
    ],
)
def test_json_of_another_type_is_refused(read_value: ReadValue, column: str, text: Any) -> None:
    wrong = r"no |'.' expected|\d members|a member that is there twice"
    says = rf"^T\.{column} of row 6ba7b810-.*: ({wrong})"
    with pytest.raises(ProtocolError, match=says):
        read_value(column, text)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("integer", True, "True is no integer"),
        ("integer", "5", "'5' is no integer"),
        ("integer", None, "needs at least 1 of integer"),
        ("string", 5, "5 is no string"),
        ("boolean", 1, "1 is no boolean"),
        ("vlan", 4096, "4096 is above the maximum of 4095"),
        ("vlan", -1, "-1 is below the minimum of 0"),
        ("color", "pink", "'pink' is none of: blue, green, red"),
        ("strings", ["a", "b", "c", "d"], "holds at most 3 of string, not 4"),
        ("integers", {"a": "b"}, "is no set"),
        ("map", ["a"], r"\['a'\] is no map"),
        ("map", {"a": 5}, "5 is no string"),
        ("ref", 5, "5 is no UUID"),
        ("real", float("nan"), "nan has no JSON"),
        ("real", 10**400, "inf has no JSON"),
        ("integer", 1 << 63, "9223372036854775808 doesn't fit into 64 bits"),
        ("string", "a\0b", "has a null character, which OVSDB can't hold"),
        ("string", "\udc80", "has half of a surrogate pair"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_column(
    columns: dict[str, Column], column: str, value: Any, says: str
) -> None:
    with pytest.raises(SchemaError, match=rf"^T\.{column}: .*{says}"):
        columns[column].encode(value)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_is_written_as_json(text: str) -> None:
    column = Column("T", "string", ColumnType(BaseType("string")))
    assert column.encode(text) == text


def test_of_an_operation_that_does_not_fit_nothing_is_left(every_type: dict[str, Any]) -> None:
    txn = Transaction(Schema.from_json(every_type))
    for _ in range(2):
        with pytest.raises(SchemaError):
            txn.insert("T", {"name": "fits", "integer": "doesn't"})
        txn.insert("T", {"name": "fits"})
    assert len(txn) == 2
    assert txn.operations == [
        {"op": "insert", "table": "T", "row": {"name": "fits"}, "uuid-name": f"row{number}"}
        for number in range(2)
    ]
    assert msgspec.json.decode(txn.params()) == ["Types", *txn.operations]


def _of(kind: str, enum: Any) -> Any:
    columns = {"c": {"type": {"key": {"type": kind, "enum": enum}}}}
    return Schema.from_json({"name": "D", "tables": {"T": {"columns": columns}}}).table("T")


@pytest.mark.parametrize(
    ("kind", "enum", "allowed"),
    [
        ("string", "a", {"a"}),
        ("string", ["set", ["a", "b"]], {"a", "b"}),
        ("integer", ["set", [3, 1]], {1, 3}),
        ("real", ["set", [1, 2.5]], {1.0, 2.5}),
        ("uuid", ["uuid", U1], {U1}),
    ],
)
def test_an_enum_is_read_as_its_column_is(kind: str, enum: Any, allowed: set[Any]) -> None:
    assert _of(kind, enum).column("c").type.key.enum == allowed


@pytest.mark.parametrize("enum", [[], ["set"], ["set", 5], ["set", [5]], {"a": 1}, None])
def test_an_enum_that_is_none(enum: Any) -> None:
    with pytest.raises(SchemaError, match=r"schema D: column T\.c: "):
        _of("string", enum)


def test_defaults(columns: dict[str, Column]) -> None:
    assert {name: column.default for name, column in columns.items() if name[0] != "_"} == {
        "name": "",
        "integer": 0,
        "real": 0.0,
        "boolean": False,
        "string": "",
        "optional": None,
        "integers": frozenset(),
        "strings": frozenset(),
        "map": {},
        "one": {},
        "ref": None,
        "refs": frozenset(),
        "named": {},
        "color": None,
        "vlan": None,
    }


def test_a_single_atom_will_do_for_a_set(columns: dict[str, Column]) -> None:
    assert columns["integers"].encode(5) == ["set", [5]]
    assert columns["strings"].encode("abc") == ["set", ["abc"]]


@pytest.mark.parametrize(
    "path", sorted(Path("/usr/share").glob("o*/*.ovsschema")), ids=lambda path: path.name
)
def test_installed_schemas_are_read(path: Path) -> None:
    text = json.loads(path.read_text())
    schema = Schema.from_json(text)
    assert {name: set(table["columns"]) for name, table in text["tables"].items()} == {
        name: {c for c in table.columns if not c.startswith("_")}
        for name, table in schema.tables.items()
    }


def test_constraints_of_open_vswitch_are_kept() -> None:
    text = json.loads(Path("/usr/share/openvswitch/vswitch.ovsschema").read_text())
    schema = Schema.from_json(text)
    bridge = schema.table("Bridge")
    assert bridge.column("fail_mode").type.key.enum == {"standalone", "secure"}
    assert bridge.column("ports").type.key.ref_table == "Port"
    assert bridge.indexes == (("name",),)
    assert not bridge.column("name").mutable
    request = schema.table("Interface").column("ofport_request").type.key
    assert (request.minimum, request.maximum) == (1, 65279)
    assert schema.table("Open_vSwitch").is_root
    assert schema.table("Open_vSwitch").max_rows == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "schema: TypeError"),
        ({"name": "x"}, "schema: KeyError: .tables"),
        (
            {"name": "x", "tables": {"T": {"columns": {"c": {"type": "int"}}}}},
            r"schema x: column T\.c: ValueError: unknown type 'int'",
        ),
        ({"name": "x", "tables": {"T": {}}}, "schema x: table T: KeyError"),
        ({"name": "x", "tables": {"T": {"columns": {"c": {"type": {}}}}}}, r"column T\.c"),
    ],
)
def test_a_broken_schema_is_refused(text: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        Schema.from_json(text)
