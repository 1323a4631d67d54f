"""Speed with more nodes, with encoders that sleep (`bench.scaling` explains what that measures)."""

from pathlib import Path

import pytest

from bench.scaling import measure
from tests.nodes import Nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
PIECES = 15


def test_four_nodes_compress_nearly_four_times_as_much_as_one(head: Nodes, records: Path) -> None:
    head.add(cpus=1, gpus=1)
    one = measure(head, 1, PIECES, records)
    for file in records.iterdir():
        file.unlink()
    for _ in range(3):
        head.add(cpus=1, gpus=1)
    four = measure(head, 4, PIECES, records)
    print(f"{one.rate:.2f} images/s on one node, {four.rate:.2f} on four")
    assert four.rate >= 0.9 * 4 * one.rate
