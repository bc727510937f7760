"""nbval on the labs: outputs are compared with the tolerance that a cell's metadata names (labkit/workshop/nbval.py)."""

from labkit.workshop.nbval import pytest_collectstart, pytest_itemcollected  # noqa: F401

collect_ignore = ["colab"]  # copies without outputs
