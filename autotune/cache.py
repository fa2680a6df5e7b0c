"""A folder of results that several studies share: a file a result, found by the trial's id and what else counts.

``<first two digits>/<id>/<key>.json``: whoever has the same work to do finds it without a list. A file is written whole
under a name of its writer's own and then renamed, so any number of studies may write at the same time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from autotune.errors import AutotuneError, InvalidStudy
from autotune.files import json_bytes, read_record, warn_once, write_atomic


class Cache:
    """The results below a folder.

    Raises:
        InvalidStudy: the folder cannot be made.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise InvalidStudy(
                f"`cache` must be a folder that can be made, got {folder!r} ({error.strerror}); name another one"
            ) from None

    def find(self, id_: str, key: str) -> dict[str, Any] | None:
        """Return the record under an id and a key; None where there is none that is whole."""
        with contextlib.suppress(OSError, AutotuneError):
            return read_record(self._path(id_, key))
        return None

    def keep(self, id_: str, key: str, record: dict[str, Any]) -> None:
        """Write a record unless there is one; what cannot be written is left out, and that is said once."""
        path = self._path(id_, key)
        if os.path.exists(path):
            return
        own = f"{path}.{os.uname().nodename}-{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomic(own, json_bytes(record))
            os.replace(own, path)
        except OSError as error:
            warn_once(f"results are not kept in the cache {self.folder!r} ({error.strerror}); the study goes on")

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield all records that are whole."""
        for folder, _, names in os.walk(self.folder):
            for name in sorted(names):
                if name.endswith(".json") and not name.startswith("."):
                    with contextlib.suppress(OSError, AutotuneError):
                        yield read_record(os.path.join(folder, name))

    def _path(self, id_: str, key: str) -> str:
        return os.path.join(self.folder, id_[:2], id_, f"{key}.json")
