"""The templates' C API: what columns may do to memory, and gathering."""

from __future__ import annotations

import random
from typing import Any

import pytest

FLOW = "table=1,tcp6,ipv6_dst={ip},tp_dst={port},actions=set_field:{mac}->eth_dst,group:{group}"
GROUP = (
    "group_id={group},type=select,selection_method=dp_hash,"
    "bucket=bucket_id:{slot},actions=ct(commit,nat(dst={ip}:{port}))"
)


class Template:
    """A template of the C API."""

    def __init__(self, core: Any, text: str) -> None:
        self.core = core
        handle = core.ffi.new("struct nsx_template **")
        encoded = core.exact(text.encode())
        error = core.error()
        retval = core.lib.nsx_template_new(encoded, len(text), core.ffi.NULL, handle, error)
        assert retval == 0, core.message(error)
        self.template = core.ffi.gc(handle[0], core.lib.nsx_template_free)
        sizes = core.ffi.new("size_t[2]")
        in_bucket = core.ffi.new("bool *")
        self.holes = []
        for i in range(core.lib.nsx_template_n_holes(self.template)):
            name = core.lib.nsx_template_hole(self.template, i, sizes, sizes + 1, in_bucket)
            self.holes.append(core.ffi.string(name).decode())

    def stamp(
        self,
        n: int,
        columns: dict[str, tuple[bytes, int, int]],
        offsets: list[int] | None = None,
    ) -> tuple[int, bytes | str]:
        """Columns are (data, width, stride); returns an error number and text, or 0 and bytes."""
        ffi, lib = self.core.ffi, self.core.lib
        alive = []
        array = ffi.new("struct nsx_column[]", len(self.holes) + 1)
        for i, hole in enumerate(self.holes):
            data, width, stride = columns[hole]
            alive.append(self.core.exact(data))
            array[i].data, array[i].width, array[i].stride = alive[-1], width, stride
        buf, error = self.core.buf(), self.core.error()
        ends = ffi.new("uint64_t[]", n + 1)
        if offsets is None:
            retval = lib.nsx_template_stamp(self.template, n, array, buf, ends, error)
        else:
            rows = ffi.new("uint64_t[]", offsets)
            retval = lib.nsx_template_stamp_groups(self.template, n, rows, array, buf, ends, error)
        if retval:
            assert buf.size == 0
            return retval, self.core.message(error)
        assert n == 0 or ends[n - 1] == buf.size
        return 0, self.core.bytes(buf)


def numbers(values: list[int], width: int) -> tuple[bytes, int, int]:
    """A column of numbers."""
    return b"".join(value.to_bytes(width, "little") for value in values), width, width


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_columns_are_read_exactly(core: Any, n: int) -> None:
    """AddressSanitizer sees any byte read before or after a column's."""
    template = Template(core, FLOW)
    columns = {
        "ip": (bytes(16 * n), 16, 16),
        "mac": (bytes(6 * n), 6, 6),
        "port": numbers([80] * n, 2),
        "group": numbers([5] * n, 4),
    }
    plain = core.flow(FLOW.format(ip="::", mac="00:00:00:00:00:00", port=80, group=5))

    assert template.stamp(n, columns) == (0, plain * n)

    for hole, data in (("ip", bytes(16)), ("mac", bytes(6))):
        columns[hole] = (data, len(data), 0)
    assert template.stamp(n, columns) == (0, plain * n)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize(("last", "fits"), [(0, True), (15, True), (16, False), (255, False)])
def test_values_are_bounded(core: Any, width: int, last: int, fits: bool) -> None:
    template = Template(core, "actions=load:{v}->NXM_NX_REG1[3..6],resubmit(,1)")
    text = "actions=load:{}->NXM_NX_REG1[3..6],resubmit(,1)"

    retval, result = template.stamp(500, {"v": numbers([1] * 499 + [last], width)})

    if fits:
        assert result == core.flow(text.format(1)) * 499 + core.flow(text.format(last))
    else:
        assert retval != 0
        assert result == f"hole v, row 499: {last} has more than 4 bits"


def test_excess_bits_never_leave_the_field(core: Any) -> None:
    """A number of 64 bits for a field at the message's very end."""
    for text in ("actions=group:{v}", "actions=load:{v}->NXM_NX_REG1[31],output:{v}"):
        for value in (2**64 - 1, 2**63, 2**40):
            assert Template(core, text).stamp(1, {"v": numbers([value], 8)})[0] != 0


@pytest.mark.parametrize(("width", "stride"), [(3, 3), (6, 6), (16, 16), (0, 0), (5, 0)])
def test_widths_that_are_no_numbers_need_such_a_field(core: Any, width: int, stride: int) -> None:
    retval, text = Template(core, "actions=group:{v}").stamp(1, {"v": (bytes(16), width, stride)})

    assert retval != 0
    assert "hole v" in str(text)


def test_a_field_of_any_width_takes_bytes(core: Any) -> None:
    text = "ip,actions=learn(load:{}->NXM_NX_XXREG1[0..79])"
    template = Template(core, text.format("{v}"))
    value = bytes(range(10))
    expected = core.flow(text.format(f"0x{value.hex()}"))
    assert template.stamp(2, {"v": (value * 2, 10, 10)}) == (0, expected * 2)
    assert template.stamp(1, {"v": (value, 9, 9)})[0] != 0


def test_flows_and_groups_are_not_mixed_up(core: Any) -> None:
    flow, group = Template(core, "actions=group:{v}"), Template(core, GROUP)
    columns = {name: numbers([1], 4) for name in ("v", *group.holes)}
    assert "stamps flows, not groups" in str(flow.stamp(1, columns, [0, 0])[1])
    assert "stamps groups, not flows" in str(group.stamp(1, columns)[1])


def test_a_group_s_own_values_are_bounded(core: Any) -> None:
    template = Template(core, GROUP)
    columns = {name: numbers([1, 1], 8) for name in template.holes}
    for group, message in (
        (numbers([1, 2**32], 8), "hole group, row 1: 4294967296 has more than 32 bits"),
        ((bytes(6), 3, 3), "hole group: values of 3 bytes do not fit"),
    ):
        retval, text = template.stamp(2, {**columns, "group": group}, [0, 1, 2])
        assert retval != 0
        assert message in str(text)


def test_strides_may_be_negative(core: Any) -> None:
    template = Template(core, "actions=group:{v}")
    data = core.ffi.new("uint16_t[]", [1, 2, 3])
    column = core.ffi.new("struct nsx_column *", [data + 2, 2, -2])
    buf = core.buf()

    retval = core.lib.nsx_template_stamp(
        template.template, 3, column, buf, core.ffi.NULL, core.error()
    )

    assert retval == 0
    assert core.bytes(buf) == b"".join(core.flow(f"actions=group:{i}") for i in (3, 2, 1))


@pytest.mark.parametrize("sizes", [[], [0], [1], [0, 3, 0, 2], [818, 819, 820, 1637, 1638, 5000]])
def test_groups_of_all_sizes_are_as_parsed(core: Any, sizes: list[int]) -> None:
    n = sum(sizes)
    offsets = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    columns = {
        "group": numbers(list(range(1, len(sizes) + 1)), 4),
        "slot": numbers(list(range(n)), 8),
        "ip": numbers([0x0A000001] * n, 4),
        "port": (*numbers([80], 2)[:2], 0),
    }

    retval, stamped = Template(core, GROUP).stamp(len(sizes), columns, offsets)

    expected = b""
    for i, size in enumerate(sizes):
        buckets = "".join(
            f",bucket=bucket_id:{slot},actions=ct(commit,nat(dst=10.0.0.1:80))"
            for slot in range(offsets[i], offsets[i] + size)
        )
        expected += core.group(f"group_id={i + 1},type=select,selection_method=dp_hash{buckets}")
    assert (retval, stamped) == (0, expected)


def test_offsets_are_checked(core: Any) -> None:
    columns = {name: numbers([1] * 4, 4) for name in ("group", "slot", "ip", "port")}
    for offsets in ([0, 2, 1], [3, 2, 4], [0, 2**32, 2**33], [0, 1, 2**63]):
        retval, text = Template(core, GROUP).stamp(2, columns, offsets)
        assert retval != 0
        assert "has the bucket rows" in str(text)


def test_wrong_texts_leave_nothing(core: Any) -> None:
    choose = random.Random(8)
    accepted = 0
    for _ in range(2000):
        text = bytearray(choose.choice([FLOW, GROUP]).encode())
        for _ in range(choose.randint(1, 3)):
            text[choose.randrange(len(text))] = choose.choice(b"{}=,:()[]x0 ")
        handle = core.ffi.new("struct nsx_template **")
        retval = core.lib.nsx_template_new(
            core.exact(bytes(text)), len(text), core.ffi.NULL, handle, core.error()
        )
        assert (handle[0] == core.ffi.NULL) == (retval != 0)
        accepted += retval == 0
        core.lib.nsx_template_free(handle[0])
    assert accepted


def test_nothing_leaks(core: Any) -> None:
    template = Template(core, GROUP)
    right = {name: numbers([1, 2], 4) for name in template.holes}
    wrong = {**right, "port": numbers([1, 65536], 4)}

    assert not core.leaks(lambda: template.stamp(2, right, [0, 1, 2]))
    assert not core.leaks(lambda: template.stamp(2, wrong, [0, 1, 2]))
    assert not core.leaks(lambda: Template(core, FLOW))
    for text in (b"table=1,nw_dst={a},actions=group:{b},x:{c}", b"group_id={a},type=all"):
        encoded, handle = core.exact(text), core.ffi.new("struct nsx_template **")

        def parse(encoded: Any = encoded, n: int = len(text), handle: Any = handle) -> None:
            error = core.error()
            assert core.lib.nsx_template_new(encoded, n, core.ffi.NULL, handle, error) != 0

        assert not core.leaks(parse)


def test_gathering(core: Any) -> None:
    ffi = core.ffi
    batches = ffi.new("struct nsx_batch[2]")
    alive = []
    for i, (data, ends, owners) in enumerate(
        [(b"aabbbcc", [2, 5, 5, 7], [1, 0, 2, 1]), (b"xyz", [1, 2, 3], [2, 2, 0])]
    ):
        alive += [core.exact(data), ffi.new("uint64_t[]", ends), ffi.new("uint64_t[]", owners)]
        batches[i].msgs, batches[i].ends, batches[i].owners = alive[-3:]
        batches[i].n = len(ends)
    buf, error = core.buf(), core.error()
    ends = ffi.new("uint64_t[4]")

    assert core.lib.nsx_gather(batches, 2, 4, buf, ends, error) == 0
    assert core.bytes(buf) == b"bbbzaaccxy"
    assert list(ends) == [4, 8, 10, 10]

    assert core.lib.nsx_gather(batches, 2, 2, buf, ends, error) != 0
    assert core.message(error) == "batch 0: piece 2 is owner 2's, of 2 owners"
    alive[1][1] = 1
    assert core.lib.nsx_gather(batches, 2, 4, buf, ends, error) != 0
    assert core.message(error) == "batch 0: piece 1 ends before it starts"
    assert core.bytes(buf) == b"bbbzaaccxy"
