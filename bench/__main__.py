"""Runs the benchmarks: all, which also writes docs/benchmarks.md; or the parts that are named.

``python -m bench [PART ...] [--services=NUMBER,...]``; ``python -m bench --docs RESULTS.json ...``
for the document alone, in which each comparison is as the last of the files has it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import report
from bench.processes import keep_bytecode
from bench.results import Run
from nsxdp.lab import tools
from nsxdp.lab.errors import MissingTool

_HERE = Path(__file__).parent
_DOCS = _HERE.parent / "docs"
_PEERS = frozenset({"proxies", "traffic"})
"""The parts that need programs that the project doesn't."""


def main(words: list[str]) -> int:
    if words[:1] == ["--docs"]:
        runs = [Run.load(Path(word)) for word in words[1:]]
        report.to_docs(Run.merged(runs, report.TOPICS), _DOCS)
        return 0
    options = [word for word in words if word.startswith("--services=")]
    words = [word for word in words if word not in options]
    unknown = [word for word in words if word not in report.TOPICS]
    if unknown:
        print(f"no part {', '.join(unknown)}: there are {', '.join(report.TOPICS)}")
        return 2
    parts = words or list(report.TOPICS)
    if not _PEERS.isdisjoint(parts):
        tools.require("iptables", "nft", "ovn-controller", "ovn-northd")
    keep_bytecode(_HERE.parent / "build/bytecode")
    name = "-".join([*words, *(option.partition("=")[2] for option in options)]) or "all"
    arguments = [
        *(str(_HERE / f"bench_{part}.py") for part in parts),
        f"--rootdir={_HERE.parent}",
        "--override-ini=python_files=bench_*.py",
        "--override-ini=python_functions=bench_*",
        "--override-ini=timeout=900",
        "--override-ini=addopts=--strict-markers",
        "--benchmark-max-time=0.7",
        "--benchmark-disable-gc",
        "--benchmark-quiet",
        "--capture=no",
        "--no-header",
        "--quiet",
        "--quiet",
        f"--results={_HERE / 'results' / name}.json",
        *options,
    ]
    if not words:
        arguments.append(f"--docs={_DOCS}")
    return int(pytest.main(arguments))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MissingTool as error:
        sys.exit(str(error))
