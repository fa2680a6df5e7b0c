"""The code blocks of the documentation, and what each is to do; `CONTRIBUTING.md` says how pages mark them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A page's blocks run in order in one folder. CHANGELOG.md and CONTRIBUTING.md have commands of this repository alone.
PAGES = [
    ROOT / "README.md",
    ROOT / "config/README.md",
    *sorted(ROOT.glob("examples/*/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
LANGUAGES = ("bash", "python", "yaml", "json", "text")
_MARKER = re.compile(r"<!-- (not run|file|fails|folder): ([^\n]+?) -->")
_BLOCK = re.compile(
    r"(?P<markers>(?:^ *<!-- [^\n]+ -->\n\s*)*)^ *```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One block of a page.

    ``markers`` are the comments before it: ``not run`` says why, ``file`` the name of what the reader writes, ``fails``
    the exit status that a command ends with, ``folder`` that a new part of the page begins, in a folder of its own.
    """

    page: Path
    line: int
    language: str
    text: str
    markers: dict[str, str]

    @property
    def where(self) -> str:
        """Page and line, as a terminal makes a link of it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            text=_dedented(match["text"]),
            markers=dict(_MARKER.findall(match["markers"])),
        )
        for match in _BLOCK.finditer(text)
    ]


def not_run() -> list[str]:
    """Return where and why of each block that is not run."""
    found = [block for page in PAGES for block in blocks(page) if "not run" in block.markers]
    return [f"{block.where}: {block.markers['not run']}" for block in found]


def prints(shown: str, output: str) -> str | None:
    """Return the first line shown that was not printed, in this order; ``…`` stands for anything in a line."""
    rest = output.splitlines()
    for line in filter(str.strip, shown.splitlines()):
        pattern = re.compile(".*".join(map(re.escape, line.rstrip().split("…"))))
        place = next((place for place, printed in enumerate(rest) if pattern.fullmatch(printed.rstrip())), None)
        if place is None:
            return line
        rest = rest[place + 1 :]
    return None


def _dedented(text: str) -> str:
    margin = len(text) - len(text.lstrip(" "))
    return "".join(line[margin:] if line.strip() else line.lstrip(" ") for line in text.splitlines(keepends=True))
