"""Which connections are told of, from what connection tracking says each time."""

from __future__ import annotations

import pytest

from nsxdp.conntrack import Entry, read_entries
from nsxdp.flowrecords.tracker import FlowTracker

TCP = (
    "tcp,orig=(src=10.244.0.3,dst=10.96.0.10,sport={},dport=80{}),"
    "reply=(src={},dst=10.244.0.3,sport=8080,dport={}{}),zone=65312,protoinfo=(state={})\n"
)


def tcp(
    state: str, *, port: int = 5000, end: str = "10.244.0.5", packets: int | None = None
) -> str:
    count = "" if packets is None else f",packets={packets},bytes={100 * packets}"
    return TCP.format(port, count, end, port, count, state)


UDP = (
    "udp,orig=(src=fd00::3,dst=fd00::a,sport=5,dport=53),"
    "reply=(src=fd00::a,dst=fd00::3,sport=53,dport=5),zone=65312\n"
)


class Looks:
    """A tracker, and what it tells at each look, in seconds."""

    def __init__(self, **options: float) -> None:
        self.tracker = FlowTracker(**options)  # type: ignore[arg-type]

    def __call__(self, now: float, *dumps: str) -> list[tuple[str, int, float, float]]:
        told = self.tracker.update(read_entries("".join(dumps)), now)
        return [(flow.reason, flow.entry.src_port, flow.start, flow.end) for flow in told]


def test_a_connection_is_told_of_when_it_ends_and_only_then() -> None:
    look = Looks()
    assert look(0) == []
    assert look(10, tcp("ESTABLISHED")) == []
    assert look(20, tcp("TIME_WAIT")) == [("end", 5000, 10, 20)]
    assert look(30, tcp("TIME_WAIT")) == []
    assert look(40) == []


def test_one_between_two_looks_is_told_of() -> None:
    look = Looks()
    look(0)
    assert look(10, tcp("TIME_WAIT")) == [("end", 5000, 10, 10)]


def test_what_ended_before_the_first_look_is_old_news() -> None:
    look = Looks()
    assert look(0, tcp("TIME_WAIT"), tcp("ESTABLISHED", port=6000)) == []
    assert look(10) == [("end", 6000, 0, 0)]


def test_what_is_tracked_no_more_is_over() -> None:
    look = Looks()
    look(0, UDP, tcp("ESTABLISHED"))
    assert sorted(look(10)) == [("end", 5000, 0, 0), ("idle", 5, 0, 0)]
    assert len(look.tracker) == 0


def test_what_goes_on_is_told_of_once_in_a_while() -> None:
    look = Looks(active=60)
    told = [look(now, tcp("ESTABLISHED")) for now in range(0, 140, 10)]
    assert [now for now, flows in zip(range(0, 140, 10), told, strict=True) if flows] == [60, 120]
    assert told[6] == [("active", 5000, 0, 60)]


def test_a_port_that_is_used_again_is_another_connection() -> None:
    look = Looks()
    look(0, tcp("ESTABLISHED", packets=9))
    assert look(10, tcp("ESTABLISHED", packets=2)) == [("end", 5000, 0, 0)]
    assert look(20, tcp("ESTABLISHED", end="10.244.0.6", packets=5)) == [("end", 5000, 10, 10)]
    assert look(30, tcp("TIME_WAIT", end="10.244.0.6", packets=6)) == [("end", 5000, 20, 30)]
    assert look(40, tcp("ESTABLISHED", end="10.244.0.6", packets=7)) == []
    assert look(50) == [("end", 5000, 40, 40)]


def test_two_pings_between_the_same_two_are_two() -> None:
    def echo(number: int, packets: int) -> str:
        count = f",packets={packets},bytes={packets}"
        ends = (f"id={number},type={kind},code=0{count}" for kind in (8, 0))
        there, back = ("src=10.0.0.1,dst=10.0.0.2", "src=10.0.0.2,dst=10.0.0.1")
        return "icmp,orig=({},{}),reply=({},{}),zone=65312\n".format(
            *(there, next(ends), back, next(ends))
        )

    look = Looks()
    for now in range(0, 50, 10):
        assert look(now, echo(1, 20 + now), echo(2, 1 + now)) == []
    assert len(look(50)) == 2


def test_the_clock_may_be_set() -> None:
    look = Looks(active=60)
    look(10_000, tcp("ESTABLISHED"))
    assert look(1_000, tcp("ESTABLISHED")) == [("active", 5000, 1_000, 1_000)]
    assert look(1_010, tcp("ESTABLISHED")) == []
    assert look(1_060, tcp("ESTABLISHED")) == [("active", 5000, 1_000, 1_060)]
    assert look(1_070, tcp("TIME_WAIT")) == [("end", 5000, 1_000, 1_070)]


def test_there_is_an_end_to_what_is_remembered() -> None:
    look = Looks(most=3)
    look(0, *(tcp("ESTABLISHED", port=port) for port in range(1, 6)))
    assert (len(look.tracker), look.tracker.left_out) == (3, 2)
    look(10, *(tcp("ESTABLISHED", port=port) for port in range(2, 5)))
    assert (len(look.tracker), look.tracker.left_out) == (2, 1)
    look(20, *(tcp("ESTABLISHED", port=port) for port in range(2, 5)))
    assert (len(look.tracker), look.tracker.left_out) == (3, 0)


def test_entries_of_all_protocols() -> None:
    icmp = (
        "icmp,orig=(src=10.0.0.1,dst=10.0.0.2,id=7,type=8,code=0),"
        "reply=(src=10.0.0.2,dst=10.0.0.1,id=7,type=0,code=0),zone=65312\n"
    )
    entries = list(read_entries(f"{icmp}{UDP}{tcp('SYN_SENT', packets=3)}nonsense\ntcp,orig=(\n"))
    assert [entry.protocol for entry in entries] == ["icmp", "udp", "tcp"]
    assert entries[1] == Entry(
        "udp",
        "fd00::3",
        5,
        "fd00::a",
        53,
        "fd00::a",
        53,
        "fd00::3",
        5,
        None,
        None,
        None,
        None,
        0,
        "",
    )
    assert (entries[2].reply_packets, entries[2].bytes, entries[2].state) == (3, 300, "SYN_SENT")


@pytest.mark.parametrize(
    ("what", "lie"),
    [
        ("src=fd00::3", "src=10.0.0.1"),
        ("src=fd00::3", "src=fd00::3%eth0"),
        ("src=fd00::3", "src=fd00:\N{ARABIC-INDIC DIGIT THREE}"),
        ("src=fd00::3", "src=\0"),
        ("dport=53", "dport=65536"),
    ],
)
def test_what_no_connection_can_be_is_none(what: str, lie: str) -> None:
    assert list(read_entries(UDP)) != []
    assert list(read_entries(UDP.replace(what, lie, 1))) == []


@pytest.mark.parametrize("number", ["sport=" + "9" * 5000, "mark=" + "9" * 5000])
def test_a_number_without_an_end_is_not_one(number: str) -> None:
    (entry,) = read_entries(UDP.replace("sport=5,dport=53)", f"{number},dport=53)", 1))
    assert (entry.src_port, entry.mark) == (0, 0)


@pytest.mark.parametrize(("digits", "count"), [("9" * 19, 10**19 - 1), ("9" * 20, None)])
def test_a_count_has_no_more_than_64_bits(digits: str, count: int | None) -> None:
    (entry,) = read_entries(UDP.replace("dport=53", f"dport=53,packets={digits},bytes=1", 1))
    assert entry.packets == count
