import itertools
import threading

import pytest
import torch
from torch import Tensor

from model.core.errors import MaepressError
from pipeline.train.crops_ahead import AHEAD, CropsAhead


def test_batches_come_in_the_order_in_which_they_were_made_and_few_are_made_ahead() -> None:
    made = itertools.count()
    enough = threading.Event()

    def make() -> Tensor:
        number = next(made)
        if number == AHEAD:
            enough.set()
        return torch.tensor(number)

    with CropsAhead(make) as crops:
        assert [int(crops.next()) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert enough.wait(10)
    assert next(made) <= 5 + AHEAD + 2
    assert not any(thread.name == "crops" for thread in threading.enumerate())


def test_an_error_reaches_whoever_asks_each_time() -> None:
    def make() -> Tensor:
        raise MaepressError("no image is readable")

    with CropsAhead(make) as crops:
        for _ in range(2):
            with pytest.raises(MaepressError, match="no image"):
                crops.next()
