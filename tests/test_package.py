"""The package as users get it: the wheel built from the source distribution."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.timeout(900)
def test_the_wheel_from_the_source_distribution_is_complete_and_works(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in tracked():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, tree],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    # Where a wheel holds compiled and other files, pip puts both in one place.
    for data in installed.glob("*.data/purelib"):
        shutil.copytree(data, installed, dirs_exist_ok=True)

    modules = []
    for name in tracked():
        path = Path(name)
        if path.parts[0] in {"nsxdp", "agents"} and path.suffix in {".py", ".pyx", ".pyi", ".pxd"}:
            inside = Path("nsxdp_agents", *path.parts[1:]) if path.parts[0] == "agents" else path
            if path.suffix == ".pyx":
                modules.append(".".join(path.with_suffix("").parts))
            else:
                assert (installed / inside).is_file(), name
    assert (installed / "nsxdp/py.typed").is_file()
    assert not list(installed.rglob("*.c"))
    pages = {path.name for path in installed.glob("*.data/data/share/man/man1/*.1")}
    assert pages == {path.name for path in (ROOT / "docs/man").iterdir()}
    assert {"nsxdp.1", "nsx-kube-proxy.1"} <= pages

    check = "import sys, importlib as i; [print(i.import_module(m).__file__) for m in sys.argv[1:]]"
    ran = subprocess.run(
        [sys.executable, "-c", check, *modules],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    paths = ran.stdout.splitlines()
    assert len(paths) == len(modules) > 0
    assert all(Path(path).is_relative_to(installed) for path in paths)
