"""Signals end work that may end anywhere with a sentence and the exit code that shells expect."""

from __future__ import annotations

import signal

import pytest

from byol_a.interrupt import Interrupted, StopSignals, interruptible


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_as_one_sentence(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped; go on") as stop, interruptible("stopped; go on"):
        try:
            signal.raise_signal(number)
        except Exception:  # what takes any failure for one of many does not take this
            pytest.fail("a signal is no failure")
    assert stop.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_what_catches_signals_inside_still_does() -> None:
    with interruptible("stopped"):
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
