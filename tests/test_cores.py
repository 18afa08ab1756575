"""Work on cores: results in order, one thread of torch's for each, and errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from byol_a.cores import on_cores


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_are_in_order_and_each_core_works_alone(threads: int) -> None:
    found = list(on_cores(lambda item: (item, torch.get_num_threads()), range(50)))
    assert found == [(item, 1) for item in range(50)]
    assert torch.get_num_threads() == threads
    asked: list[int] = []
    other = threading.Thread(target=lambda: asked.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert asked == [threads]


def test_items_are_drawn_as_they_are_needed(threads: int) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            drawn.append(item)
            yield item

    results = on_cores(lambda item: item, items())
    assert next(results) == 0
    assert len(drawn) <= 2 * threads
    results.close()
    assert len(drawn) <= 2 * threads and torch.get_num_threads() == threads


def test_an_error_comes_through(threads: int) -> None:
    results = on_cores(lambda item: 1 // (2 - item), range(10))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert torch.get_num_threads() == threads
