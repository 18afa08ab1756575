"""The machine's facts and peaks, as reports show them."""

from __future__ import annotations

import json

import pytest
import torch

from tests.benchmarks import programs  # noqa: F401

import machine  # isort: skip
import pretrain_isa  # isort: skip

CPU = torch.device("cpu")


def test_facts_can_be_written_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    facts = json.loads(json.dumps(machine.facts()))
    assert facts["cores"] >= 1 and facts["memory_gb"] > 0 and facts["cpu"] and facts["gpu"] is None
    line = machine.described(facts)
    assert facts["cpu"] in line and torch.__version__ in line and "at most AVX2" in line and "\n" not in line


def test_no_compiler_is_a_fact_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert machine.facts()["compiler"] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peaks_are_positive_and_finite(dtype: torch.dtype) -> None:
    assert 0 < machine.matrix_peak(CPU, dtype, size=64) < float("inf")
    assert 0 < machine.copy_bandwidth(CPU, size=1 << 16) < float("inf")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_facts_and_peaks_of_a_gpu() -> None:
    device = torch.device("cuda")
    assert machine.facts(device)["gpu"]["name"] in machine.described(machine.facts(device))
    assert machine.matrix_peak(device, torch.bfloat16, size=1024) > 0 and machine.copy_bandwidth(device, 1 << 20) > 0


def test_each_instruction_set_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, str]]] = []

    def measured(arguments: list[str], environment: dict[str, str]) -> dict[str, object]:
        asked.append((arguments, environment))
        return {"number": len(asked)}

    monkeypatch.setattr(pretrain_isa, "_measured", measured)
    figures = pretrain_isa.measure_isas(["--isa", "--rounds", "1", "training.precision=bf16"])
    assert figures["number"] == 1 and [one["number"] for one in figures["isa"].values()] == [2, 3]
    assert all(arguments[:3] == ["--rounds", "1", "training.precision=bf16"] for arguments, _ in asked)
    assert asked[1][1] == {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"} and asked[2][0][-1] == "training.precision=float32"
