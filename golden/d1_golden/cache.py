"""Where everything that is built once and kept goes."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_root"]


def cache_root() -> Path:
    """Return the cache folder: `$D1_CACHE`, or `d1-machine` in the user's cache folder."""
    configured = os.environ.get("D1_CACHE")
    return Path(configured) if configured else platformdirs.user_cache_path("d1-machine")
