"""Processes side by side for all tests that need them; lists of near pairs for few points."""

import pytest

from pfml.losses.field.neighbours import Neighbours
from tests.losses.ranks import Ranks


@pytest.fixture(scope="session")
def ranks():
    ranks = Ranks()
    yield ranks
    ranks.close()


@pytest.fixture
def small_lists(monkeypatch):
    """Lists, projection and several tiles also for few points."""
    monkeypatch.setattr(Neighbours, "least", 2)
    monkeypatch.setattr(Neighbours, "rank", 4)
    monkeypatch.setattr(Neighbours, "tile", {"cpu": 9})


@pytest.fixture
def searches(monkeypatch):
    """The number of rows of each search."""
    seen, search = [], Neighbours._search

    def counted(self, rows, *rest, **options):
        seen.append(len(rows))
        return search(self, rows, *rest, **options)

    monkeypatch.setattr(Neighbours, "_search", counted)
    return seen
