"""The sentences that the page on troubleshooting quotes are those of the program."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from blocks import ROOT

PAGE = ROOT / "docs/troubleshooting.md"


def sentences_of_the_package() -> Iterator[str]:
    """Yield every text of the package, with … for what is put in."""
    for path in (ROOT / "autotune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                yield "".join(map(str, parts)).replace("`", "")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.replace("`", "")


def test_every_quoted_sentence_is_said() -> None:
    quoted = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(quoted) > 20
    said = list(sentences_of_the_package())
    unknown = [sentence for sentence in quoted if not any(is_said(sentence, one) for one in said)]
    assert unknown == []


def is_said(quoted: str, text: str) -> bool:
    """Return whether the text has the parts of the quotation in order; the first at its beginning."""
    return re.match(".*?".join(re.escape(part.strip()) for part in quoted.split("…")), text, re.DOTALL) is not None


def test_a_sentence_that_nobody_says_is_found() -> None:
    assert is_said("no … here; try …", "no wine here; try tea")
    assert not is_said("no … here; try …", "there is no wine here; try tea")
    assert not is_said("no … here; try …", "no wine here")
