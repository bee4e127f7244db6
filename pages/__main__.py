"""Writes all pages: ``python -m pages``, which is ``make docs``."""

from pages.root import ROOT
from pages.written import FOLDERS, PAGES


def main() -> None:
    """Write what has changed, and remove what is no longer written."""
    for name, make in PAGES.items():
        path = ROOT / name
        text = make()
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"  wrote {name}")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*")):
            if str(path.relative_to(ROOT)) not in PAGES:
                path.unlink()
                print(f"  removed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
