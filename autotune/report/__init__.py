"""The report of a study: ``report.html``, which needs no network, and its figures as files.

`data` reads the study, `outcomes`, `parameters` and `running` say what is to be drawn as plain `model` figures, and
`interactive` (Plotly) and `static` (matplotlib) draw them; `page` puts all of it into one file.
"""

from __future__ import annotations
