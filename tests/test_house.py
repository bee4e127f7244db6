"""The house's own rules: what may import what, what the text may say, what is packaged."""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from nsxdp import openflow
from pages.written import PAGES

ROOT = Path(__file__).parents[1]

LAYERS = (
    {"nsxdp.backoff", "nsxdp.bridge", "nsxdp.logs", "nsxdp.netns", "nsxdp.rtnetlink"},
    {"nsxdp.received", "nsxdp.transport"},
    {"nsxdp.conntrack", "nsxdp.unixctl"},
    {"nsxdp.flowrecords"},
    {"nsxdp.openflow", "nsxdp.ovsdb"},
    {"nsxdp.switch", "nsxdp.writer"},
    {"nsxdp.k8s", "nsxdp.nsx", "nsxdp.pipeline"},
    {"nsxdp.forwarding", "nsxdp.policy", "nsxdp.services", "nsxdp.tracing"},
    {"nsxdp_agents"},
)
"""From the bottom: a module imports its own package, and packages of lower layers, of `nsxdp`."""

PURE = (
    "nsxdp.conntrack",
    "nsxdp.flowrecords",
    "nsxdp.forwarding",
    "nsxdp.pipeline",
    "nsxdp.policy",
    "nsxdp.rtnetlink.objects",
    "nsxdp.rtnetlink.tbf",
    "nsxdp.rtnetlink.wire",
    "nsxdp.services",
)
INPUT_OUTPUT = {"aiohttp", "asyncio", "http", "select", "subprocess", "urllib"}

LONGEST_FILE = 700
TEXT = {".c", ".cfg", ".def", ".h", ".md", ".pxd", ".py", ".pyi", ".pyx", ".toml", ".yaml", ".yml"}


def tracked() -> list[Path]:
    """Files of the project: what git knows, or, without git, what lies in its folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.split("\0")[:-1]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def texts() -> list[Path]:
    here = Path(__file__).resolve()
    return [path for path in tracked() if path.suffix in TEXT and path.resolve() != here]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "agents":
        parts = ("nsxdp_agents", *parts[1:])
    return ".".join(part for part in parts if part != "__init__")


def package_of(module: str) -> str:
    """The layer's member that `module` belongs to."""
    parts = module.split(".")
    return parts[0] if parts[0] == "nsxdp_agents" else ".".join(parts[:2])


def layer_of(package: str) -> int | None:
    return next((n for n, members in enumerate(LAYERS) if package in members), None)


def imports(path: Path) -> Iterator[str]:
    """Absolute names of what a Python or Cython file imports."""
    if path.suffix in {".pyx", ".pxd"}:
        for line in path.read_text().splitlines():
            if found := re.match(r"\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", line):
                yield found[1] or found[2]
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_name(path).split(".")
                if path.stem != "__init__":
                    package.pop()
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, base]).rstrip(".")
            if base == "nsxdp":
                yield from (f"nsxdp.{alias.name}" for alias in node.names)
            else:
                yield base


def sources() -> list[Path]:
    return [
        path
        for path in tracked()
        if path.suffix in {".py", ".pyi", ".pyx", ".pxd"}
        and path.relative_to(ROOT).parts[0] in {"nsxdp", "agents"}
    ]


def test_imports_point_downwards_only() -> None:
    wrong = []
    for path in sources():
        here = package_of(module_name(path))
        level = layer_of(here)
        for name in imports(path):
            package = package_of(name)
            other = layer_of(package)
            if package == here or level is None or other is None:
                continue
            if other >= level:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_lab_and_the_commands_are_used_by_no_layer() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources()
        if layer_of(package_of(module_name(path))) is not None
        for name in imports(path)
        if package_of(name) in {"nsxdp.lab", "nsxdp.cli"}
    ]
    assert not wrong


def test_type_checkers_see_what_nsxdp_openflow_offers() -> None:
    stub = ast.parse((ROOT / "nsxdp/openflow/__init__.pyi").read_text())
    seen = {
        alias.name: str(node.module)
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == openflow.__all__
    for name, module in seen.items():
        assert getattr(openflow, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match="Flaw"):
        _ = openflow.Flaw


def test_every_package_has_a_place_in_the_layers() -> None:
    known = set().union(*LAYERS) | {"nsxdp", "nsxdp.cli", "nsxdp.lab"}
    assert {package_of(module_name(path)) for path in sources()} <= known


def test_compilers_do_no_input_or_output() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources()
        if module_name(path).startswith(PURE)
        for name in imports(path)
        if name.split(".")[0] in INPUT_OUTPUT
    ]
    assert not wrong


def test_every_package_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    found = {
        module_name(path.with_name("__init__.py"))
        for path in sources()
        if path.suffix in {".py", ".pyx"}
    }
    assert sorted(found) == sorted(packages)
    without_init = [
        package
        for package in packages
        if not (ROOT / package.replace("nsxdp_agents", "agents").replace(".", "/"))
        .joinpath("__init__.py")
        .is_file()
    ]
    assert not without_init


def test_compiled_modules_say_their_types() -> None:
    untyped = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.suffix == ".pyx" and not path.with_suffix(".pyi").exists()
    ]
    assert not untyped


def test_files_are_short() -> None:
    # Those that are written from the code are as long as what they tell of.
    long = {
        str(path.relative_to(ROOT)): length
        for path in texts()
        if (length := len(path.read_text().splitlines())) > LONGEST_FILE
        and path.relative_to(ROOT).parts[:2] != ("tests", "data")
        and str(path.relative_to(ROOT)) not in PAGES
    }
    assert not long


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(TODO|FIXME|XXX|HACK)\b",
        r"pytest\.(skip|mark\.skip|mark\.skipif|mark\.xfail|importorskip)\b",
        r"/work/|/tmp/|\.\./shared",
        r"(?i)\b(artifactory|nexus\.|localhost:\d+/(simple|repository))",
        r"(?i)\bissue #?\d+\b(?!/)",
        r"<<<<<<< |>>>>>>> ",
    ],
)
def test_no_text_speaks_of(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found


def test_what_tests_share_has_a_name_of_its_own() -> None:
    """They import it by its plain name, and some directories have test modules of the same one."""
    names = Counter(
        path.stem
        for path in tracked()
        if path.match("tests/*/*.py") and not re.match(r"test_|conftest|__init__", path.stem)
    )
    assert [name for name, number in names.items() if number > 1] == []
    importing = re.compile(r"^(from|import) test_", re.MULTILINE)
    assert [
        str(path.relative_to(ROOT))
        for path in texts()
        if path.suffix == ".py" and importing.search(path.read_text())
    ] == []


def test_text_is_clean() -> None:
    unclean = []
    for path in texts():
        text = path.read_text()
        name = str(path.relative_to(ROOT))
        if text and not text.endswith("\n"):
            unclean.append(f"{name}: no newline at its end")
        if path.relative_to(ROOT).parts[:2] == ("tests", "data"):
            continue
        unclean += [
            f"{name}:{number}: space at the end of the line"
            for number, line in enumerate(text.splitlines(), 1)
            if line != line.rstrip()
        ]
    assert not unclean


def test_c_lines_fit_open_vswitch_s_width() -> None:
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        if path.suffix in {".c", ".h", ".def"}
        for number, line in enumerate(path.read_text().expandtabs(8).splitlines(), 1)
        if len(line) > 79
    ]
    assert not wide
