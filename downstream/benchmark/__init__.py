"""Every task, every model, every protocol: what is finished stays, what is missing is done, one results folder."""

from downstream.benchmark.plan import Account, Plan
from downstream.benchmark.run import run_benchmark
from downstream.benchmark.task import run_task

__all__ = ["Account", "Plan", "run_benchmark", "run_task"]
