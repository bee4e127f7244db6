"""Traffic through a virtual address: what the pipeline costs that leads it to an endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from bench.conftest import Record
from bench.pipelines import SERVERS, Minimal, Ours, OvnPipeline, Pipeline
from bench.results import duration
from bench.turns import Work, take_turns

_KINDS = (Minimal, Ours, OvnPipeline, Pipeline)
_ROUNDS = 25
_SECONDS = 0.4
"""Of one turn: short, for there are others on the machine, who come and go."""
_CONNECTIONS = 10_000

Pipelines = dict[str, Pipeline]


@pytest.fixture(scope="module")
def pipelines() -> Iterator[Pipelines]:
    with contextlib.ExitStack() as closing:
        yield {kind.name: closing.enter_context(kind()) for kind in _KINDS}


def bench_connections(record: Record, pipelines: Pipelines) -> None:
    """TCP connections, 16 at a time, that are reset as soon as they are there."""
    count = dict.fromkeys(pipelines, 0.0)
    used = dict.fromkeys(pipelines, 0.0)
    cached = {who: _cached(pipeline) for who, pipeline in pipelines.items()}

    def work(who: str, pipeline: Pipeline) -> Work:
        def once() -> float:
            before = pipeline.cpu()
            connections, seconds = pipeline.connect(_SECONDS)
            used[who] += pipeline.cpu() - before
            count[who] += connections
            pipeline.forget_connections()
            return seconds / connections

        return once

    take_turns(
        record,
        f"connections to a Service of {SERVERS} endpoints",
        {who: work(who, pipeline) for who, pipeline in pipelines.items()},
        rounds=_ROUNDS,
        unit="connections",
        facts=lambda who: {"CPU of OVS": duration(used[who] / count[who]), **cached[who]},
    )


def bench_bytes(record: Record, pipelines: Pipelines) -> None:
    """One connection on which as much is sent as goes."""
    count = dict.fromkeys(pipelines, 0.0)
    used = dict.fromkeys(pipelines, 0.0)

    def work(who: str, pipeline: Pipeline) -> Work:
        def once() -> float:
            before = pipeline.cpu()
            sent, seconds = pipeline.send(_SECONDS)
            used[who] += pipeline.cpu() - before
            count[who] += sent / 1e6
            return seconds / sent * 1e6

        return once

    take_turns(
        record,
        "one long connection",
        {who: work(who, pipeline) for who, pipeline in pipelines.items()},
        rounds=_ROUNDS,
        unit="MB",
        facts=lambda who: {"CPU of OVS": duration(used[who] / count[who])},
    )


def _cached(pipeline: Pipeline) -> dict[str, str]:
    """What the datapath knows after ten thousand connections, and how often a packet meets it."""
    pipeline.forget()
    opened = 0.0
    while opened < _CONNECTIONS:
        opened += pipeline.connect(_SECONDS)[0]
    passes = pipeline.passes()
    return {
        "megaflows": f"{len(pipeline.megaflows())}",
        "lookups a packet": f"{passes.lookups:.3g}",
        "conntrack a packet": f"{passes.conntrack:.3g}",
    }
