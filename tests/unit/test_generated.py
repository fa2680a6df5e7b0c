"""Files that derive from the options of a study are as the code would write them; `make fix` writes them."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.config import json_schema, options_table

ROOT = Path(__file__).parents[2]


def test_schema_file_is_current() -> None:
    assert json.loads((ROOT / "workflow/schemas/study.schema.json").read_text()) == json_schema()


def test_table_in_the_docs_is_current() -> None:
    assert options_table() in (ROOT / "config/README.md").read_text()
