"""Helper modules that stand beside the tests can be imported by name."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in sorted(Path(__file__).parent.iterdir()):
    if folder.is_dir():
        sys.path.append(str(folder))
