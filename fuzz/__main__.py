"""Runs targets: ``python -m fuzz [--seconds SECONDS] [TARGET ...]``; without targets, all in turn.

What they learn stays in build/fuzz/corpus, so that the next run goes on from there. An input that
a target fails on is written to build/fuzz/crashes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fuzz.build import BUILD, TARGETS, build
from fuzz.seeds import write_dictionary, write_seeds

TEXTS = {
    "actions_text",
    "flow_text",
    "flows_text",
    "group_text",
    "instructions_text",
    "match_text",
    "meter_text",
    "ovsdb",
    "packet_out",
    "template",
}
"""Targets for which the core's words are of use."""

LONGEST = dict.fromkeys(TEXTS, 400) | {"desired": 400, "ovsdb": 1000, "template": 600}
"""Bytes of an input, where libFuzzer's own limit is beside the point."""

SLOWEST = 10
"""Seconds for one input."""


@dataclass(frozen=True)
class Result:
    """What a run did."""

    target: str
    executions: int
    per_second: int
    features: int
    failure: str
    """What was said about an input that failed; empty: none did."""


def run(
    program: Path, seconds: int, corpus: Path, *, runs: int = 0, progress: bool = False
) -> Result:
    """Run a target for some seconds on its seeds, on 'corpus', and on what it makes of them.

    'progress' shows libFuzzer's own lines.
    """
    name = program.name
    seeds, crashes, words = BUILD / "seeds" / name, BUILD / "crashes", BUILD / "words.dict"
    for directory in (seeds, crashes, corpus):
        directory.mkdir(parents=True, exist_ok=True)
    write_seeds(name, seeds)
    command = [
        str(program),
        f"-max_total_time={seconds}",
        *([f"-runs={runs}", "-seed=1"] if runs else []),
        f"-artifact_prefix={crashes}/{name}-",
        f"-timeout={SLOWEST}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        *([f"-max_len={LONGEST[name]}"] if name in LONGEST else []),
    ]
    if name in TEXTS:
        write_dictionary(words)
        command.append(f"-dict={words}")
    environment = {**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1"}
    lines: list[str] = []
    with subprocess.Popen(
        [*command, str(corpus), str(seeds)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if progress and re.match(r"#\d+\s+(pulse|INITED|REDUCE|DONE)", line):
                sys.stderr.write(f"\r\033[K{name}: {line.strip()[:100]}")
                sys.stderr.flush()
    if progress:
        sys.stderr.write("\r\033[K")
    said = "".join(lines)

    def number(pattern: str) -> int:
        found = re.findall(pattern, said)
        return int(found[-1]) if found else 0

    start = re.search(r"(?m)^.*(not true:|ERROR: |runtime error:)", said)
    return Result(
        name,
        number(r"stat::number_of_executed_units:\s*(\d+)"),
        number(r"stat::average_exec_per_sec:\s*(\d+)"),
        number(r"ft: (\d+)"),
        said[max(0, start.start() - 2000) if start else -4000 :] if process.returncode else "",
    )


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args(words)
    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"no target {', '.join(unknown)}: there are {', '.join(TARGETS)}")

    print("building", file=sys.stderr)
    failed = False
    for name, program in build(options.targets or TARGETS).items():
        corpus = BUILD / "corpus" / name
        result = run(program, options.seconds, corpus, progress=sys.stderr.isatty())
        print(
            f"{name:14} {result.executions:12,} executions {result.per_second:8,}/s"
            f" {result.features:7,} features  {'FAILED' if result.failure else 'ok'}",
            flush=True,
        )
        if result.failure:
            print(result.failure)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
