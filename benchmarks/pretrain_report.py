"""The figures of `pretrain.py` as tables, each beside what is aimed at."""

from __future__ import annotations

from typing import Any

from machine import described
from stages import STAGES

RECIPE = "byola_v2"
# At least, or "at most" where it is a share of the step's time: for v2 on two cores, and on one H100 from a store.
TARGETS: dict[str, dict[str, float]] = {
    "cpu": {"ratio_to_baseline": 5.0, "end_to_end_over_step": 0.95, "views_over_step": 0.05},
    "cuda": {"end to end": 20_000.0, "ratio_to_baseline": 20.0, "end_to_end_over_step": 0.9, "views_over_step": 0.05},
}
AT_MOST = ("views_over_step",)


def report(figures: dict[str, Any]) -> str:
    """All tables."""
    blocks = [rates(figures), stages(figures)]
    if figures["roofline"]:
        blocks.append(roofline(figures))
    if "isa" in figures:
        blocks.append(isas(figures))
    return "\n\n".join("\n".join(block) for block in blocks)


def rates(figures: dict[str, Any]) -> list[str]:
    """Clips per second, and the ratios that hold where those do not."""
    targets = TARGETS[figures["device"]] if figures["recipe"] == RECIPE else {}
    lines = [
        f"{figures['recipe']}, batch {figures['batch_size']}, {figures['precision']}, fast {figures['fast']}, "
        f"{figures['clips']} clips, medians of {figures['rounds']}",
        f"  {described(figures['machine'])}",
        *([f"  {figures['remark']}"] if figures["remark"] else []),
        f"  {'':<34} {'':>10}  target",
    ]

    def line(label: str, key: str, value: float, form: str) -> str:
        target = targets.get(key)
        if target is None:
            return f"  {label:<34} {value:{form}}  -"
        met = value <= target if key in AT_MOST else value >= target
        sign = "<=" if key in AT_MOST else ">="
        return f"  {label:<34} {value:{form}}  {sign} {target:g}{'' if met else '  missed'}"

    for name, rate in figures["clips_per_second"].items():
        lines.append(line(f"{name}, clips/s", name, rate, "10.1f"))
    named = {
        "ratio_to_baseline": "end to end / baseline",
        "end_to_end_over_step": "end to end / bare step",
        "views_over_step": "views / bare step (time)",
        "ratio_to_fast_off": "end to end / end to end, fast off",
    }
    lines += [line(label, key, figures[key], "10.3f") for key, label in named.items() if key in figures]
    lines += [line(f"peak memory, {key}, MB", key, value, "10.0f") for key, value in figures["peak_memory_mb"].items()]
    return lines


def stages(figures: dict[str, Any]) -> list[str]:
    """Milliseconds of each stage of an end-to-end step, of ours and of the baseline."""
    found = dict(figures["stage_seconds"])
    clip = found.pop("baseline's clip", None)
    share_of = f"fast {figures['fast']}"
    whole = sum(found[share_of].values())
    lines = [
        "stages of an end-to-end step, ms (no targets: their sum has one)",
        f"  {'':<16}" + "".join(f"{name:>12}" for name in found) + f"{'share':>9}",
    ]
    for stage in STAGES:
        if any(stage in took for took in found.values()):
            row = "".join(f"{took[stage] * 1000:12.1f}" if stage in took else f"{'-':>12}" for took in found.values())
            lines.append(f"  {stage:<16}{row}{found[share_of].get(stage, 0.0) / whole:9.1%}")
    lines.append(f"  {'sum':<16}" + "".join(f"{sum(took.values()) * 1000:12.1f}" for took in found.values()))
    if clip is not None:
        parts = ", ".join(f"{stage} {seconds * 1000:.2f}" for stage, seconds in clip.items())
        lines.append(f"  the baseline's workers, ms for each clip: {parts}")
    return lines


def roofline(figures: dict[str, Any]) -> list[str]:
    """What the parts of the step compute and move, beside the machine's peaks."""
    peaks = figures["peaks"]
    lines = [
        f"work of a step's parts; peaks measured: {figures['precision']} product "
        f"{peaks['flops_per_second'] / 1e9:,.0f} GFLOP/s, copy {peaks['bytes_per_second'] / 1e9:,.1f} GB/s",
        f"  {'':<16}{'ms':>9}{'GFLOP':>9}{'GB >=':>8}{'FLOP/B':>8}{'GFLOP/s':>10}{'of peak':>9}{'GB/s':>8}"
        f"{'of copy':>9}{'of roof':>9}",
    ]
    for name, part in figures["roofline"].items():
        lines.append(
            f"  {name:<16}{part['seconds'] * 1000:9.1f}{part['flops'] / 1e9:9.1f}{part['bytes'] / 1e9:8.2f}"
            f"{part['flops_per_byte']:8.1f}{part['flops_per_second'] / 1e9:10.1f}{part['share_of_matrix_peak']:9.1%}"
            f"{part['bytes_per_second'] / 1e9:8.2f}{part['share_of_bandwidth']:9.1%}{part['share_of_roof']:9.1%}"
        )
    return lines


def isas(figures: dict[str, Any]) -> list[str]:
    """End to end and bare steps under several instruction sets."""
    lines = [
        "instruction sets, clips/s",
        f"  {'':<32}{'step':>9}{'end to end':>12}{'/ step':>9}{'/ baseline':>12}{'peak GFLOP/s':>14}",
    ]
    for name, one in {f"{figures['precision']}, as the machine has it": figures, **figures["isa"]}.items():
        speed, over = one["clips_per_second"], one.get("ratio_to_baseline")
        lines.append(
            f"  {name:<32}{speed['step']:9.1f}{speed['end to end']:12.1f}{one['end_to_end_over_step']:9.3f}"
            f"{'-' if over is None else format(over, '.2f'):>12}{one['peaks']['flops_per_second'] / 1e9:14,.0f}"
        )
    return lines
