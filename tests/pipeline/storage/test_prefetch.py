"""Pages that are requested in advance keep their order, however threads are switched."""

import sys
from collections.abc import Iterator

import pytest

from pipeline.storage.base import Entry
from pipeline.storage.listing.ordered_walk import Page
from pipeline.storage.listing.prefetch import list_in_order


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_a_page_never_overtakes_the_one_before_it() -> None:
    def pages(prefix: str) -> Iterator[Page]:
        for number in range(20_000):
            yield Page([Entry(f"{number:06d}", 1, "e")], [])

    keys = [entry.key for entry in list_in_order(pages, "s3://b")]
    assert keys == [f"{number:06d}" for number in range(20_000)]
