"""Taking over results of equal work: of studies that were set aside, by the trials' ids."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from autotune.storage import Results, StudyDir


def take_over(store: StudyDir, ids: Iterable[tuple[int, str]]) -> None:
    """Give trials without a result the one of a trial of equal id in an archived study, and that trial's folder.

    Args:
        store: the study directory.
        ids: number and id of each trial.
    """
    archived = list(store.archived())
    open_: dict[str, int] = {}
    for number, id_ in ids if archived else ():
        if not os.path.exists(store.result_file(number)):
            open_.setdefault(id_, number)
    for old in archived:
        for result in Results(old).refresh().by_number.values():
            if result.id not in open_:
                continue
            number = open_.pop(result.id)
            if os.path.isdir(old.work_dir(result.number)) and not os.path.exists(store.work_dir(number)):
                os.makedirs(os.path.dirname(store.work_dir(number)), exist_ok=True)
                os.rename(old.work_dir(result.number), store.work_dir(number))
            store.write_result(replace(result, number=number))
