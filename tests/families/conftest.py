"""Folders in the conventions of eight families, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from families.conventions import FAMILIES, Family, make


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The tokenizers and configs of all families, by name; no weights."""
    return {name: make(tmp_path_factory.mktemp(name), family) for name, family in FAMILIES.items()}


@pytest.fixture(params=FAMILIES)
def family(request, folders) -> tuple[Family, Path]:
    """Each family in turn, with its folder."""
    return FAMILIES[request.param], folders[request.param]
