"""Makes a directive of nginx.conf one without effect, in each Python that has this directory in its PYTHONPATH.

tests/nginx_proofs.py names the directive in BUCHNER_DROPPED: it is still read and checked, but nothing comes of it.
"""

from __future__ import annotations

import os
from dataclasses import replace

name = os.environ.get("BUCHNER_DROPPED")
if name:
    from buchner.nginx.directives import ROWS

    for place, row in ROWS.by_context.items():
        if row.name == name:
            ROWS.by_context[place] = replace(row, handler=lambda _scope, _directive: None)
