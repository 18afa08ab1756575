"""What is compared in a folder: written there first, so that nothing else is ever mixed into it."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from byol_a.config import differences, to_dict
from byol_a.errors import ByolaError, UsageError
from byol_a.files import write_json
from byol_a.training.config import PretrainConfig
from byol_a.training.cost import StepCost, step_costs
from byol_a.words import counted, one_line
from downstream.compare.contestants import Contestant, reference_of
from downstream.tables import file_stem

PLAN, COSTS = "plan.json", "costs.json"
FORMAT = "byol-a comparison 1"


@dataclass(frozen=True)
class Cost:
    """What an optimiser step of a contestant costs.

    `relative` is to the step of `reference`; where the two differ in batch size, to as many clips of it (`per_clip`).
    `machine` is what both were timed on.
    """

    seconds: float
    relative: float
    reference: str
    per_clip: bool
    machine: str = ""


def begin_plan(out: Path) -> None:
    """Note in `out` that a comparison is kept there, before anything else is written.

    Raises:
        UsageError, ByolaError: as of `refuse_strangers`.
    """
    refuse_strangers(out)
    if not (out / PLAN).exists():
        write_json(out / PLAN, {"format": FORMAT, "data": {}, "recipes": {}, "controls": {}})


def refuse_strangers(out: Path) -> None:
    """See that `out` is a comparison's folder, or empty, or not there.

    Raises:
        UsageError: if it holds something else.
        ByolaError: if its plan cannot be read.
    """
    plan = _read_plan(out)
    if plan is None:
        # What a kill while the plan was first written left does not matter.
        found = sorted(each.name for each in out.iterdir()) if out.is_dir() else []
        others = [name for name in found if name != ".lock" and not name.startswith(f".{PLAN}.")]
        if others:
            raise UsageError(f"{out} holds something else than a comparison ({others[0]}); give another --out")
    elif plan.get("format") != FORMAT:
        raise UsageError(f"{out} holds no comparison of this version of byol-a; give another --out")


def claim(out: Path, contestants: Sequence[Contestant], data: Mapping[str, str]) -> None:
    """Note in `out` what is compared there. Recipes may join those of before.

    Args:
        contestants: recipes, and untrained networks, which are noted by their folders.
        data: what tells the sounds from others, by sample rate.

    Raises:
        UsageError: if other settings of the same recipe, or other data, were used there before.
        ByolaError: if what was noted before cannot be read.
    """
    recipes = {each.label: _without_seed(each) for each in contestants if not each.control}
    controls = {each.folder: _as_json(each.untrained) for each in contestants if each.control}
    before = _read_plan(out) or {}
    recipes_before, controls_before, data_before = (before.get(key, {}) for key in ("recipes", "controls", "data"))
    for rate, fingerprint in data.items():
        if data_before.get(rate, fingerprint) != fingerprint:
            raise UsageError(f"{out} compares runs on other data; give another --out")
    places = {file_stem(label): label for label in recipes_before}
    for label in recipes:
        if (other := places.get(file_stem(label), label)) != label:
            raise UsageError(f"{out} holds {other}, whose folder {label} would share; give another --out")
    for now, then in ((recipes, recipes_before), (controls, controls_before)):
        for label, config in now.items():
            if label in then and (changes := differences(then[label], config)):
                key, old, new = changes[0]
                raise UsageError(
                    f"{out} holds {label} with {key} = {old}, and {new} is asked for now; give another --out, or the "
                    "same settings"
                )
    plan = {"data": data_before | dict(data), "recipes": recipes_before | recipes}
    write_json(out / PLAN, {"format": FORMAT, **plan, "controls": controls_before | controls})


def measured_costs(
    out: Path,
    contestants: Sequence[Contestant],
    baseline: Contestant,
    device: torch.device,
    fixed: bool,
    say: Callable[[str], None],
) -> dict[str, Cost]:
    """The cost of a step of each contestant; those that were measured before in `out` on this machine are read.

    One whose step fails has none; `say` is told why.

    Args:
        fixed: whether `baseline` is everybody's reference, whatever the batch size.

    Raises:
        UsageError: as of `step_costs`.
    """
    by_label = {each.label: each for each in contestants}
    references = {
        each.label: baseline.label if fixed else reference_of(each, contestants, baseline).label for each in contestants
    }
    machine, written = machine_of(device), _costs(out / COSTS)
    kept = {
        label: cost
        for label, cost in written.items()
        if references.get(label) == cost.reference and cost.machine == machine
    }
    for reference in dict.fromkeys(references.values()):
        missing = [label for label, other in references.items() if other == reference and label not in kept]
        if not missing:
            continue
        # Each seed costs the same; the first stands for all.
        configs = {label: by_label[label].run_config(0) for label in dict.fromkeys([reference, *missing])}
        size = configs[reference].training.batch_size
        for label, cost in _costs_of_steps(configs, reference, str(device), say).items():
            if label in missing:
                own = configs[label].training.batch_size
                kept[label] = Cost(cost.seconds, cost.relative * size / own, reference, own != size, machine)
        # What other recipes of the folder cost stays.
        write_json(out / COSTS, {label: vars(cost) for label, cost in (written | kept).items()})
    return kept


def machine_of(device: torch.device) -> str:
    """What steps are timed on: the accelerator's name, or the processor's and how many threads it may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {counted(torch.get_num_threads(), 'CPU thread')}"


def _costs_of_steps(
    configs: dict[str, PretrainConfig], reference: str, device: str, say: Callable[[str], None]
) -> dict[str, StepCost]:
    """As `step_costs`; where a step fails, each by itself beside the reference, without those that fail again."""
    found, why = _tried(configs, reference, device)
    if not why:
        return found
    for label in configs:
        one, why = _tried({reference: configs[reference], label: configs[label]}, reference, device, side_by_side=1)
        found |= {label: one[label]} if one else {}
        if why:
            say(f"note: what a step of {label} costs is not known: {why}")
    return found


def _tried(
    configs: dict[str, PretrainConfig], reference: str, device: str, side_by_side: int = 4
) -> tuple[dict[str, StepCost], str]:
    """Costs; or none, and why. The error goes with this call, and with it the memory that its frames hold."""
    try:
        return step_costs(configs, reference, device=device, side_by_side=side_by_side), ""
    except UsageError:
        raise
    except Exception as error:  # no memory for several at once, or a method of somebody's own
        return {}, one_line(error) or type(error).__name__


def _costs(path: Path) -> dict[str, Cost]:
    """Those that were written; none if they cannot be read, for they can be measured again."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {label: Cost(**cost) for label, cost in values.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _without_seed(contestant: Contestant) -> dict[str, Any]:
    config = contestant.config
    values: dict[str, Any] = _as_json(to_dict(replace(config, training=replace(config.training, seed=0))))
    return values


def _as_json(values: Any) -> Any:
    """As they are read again."""
    return json.loads(json.dumps(values))


def _read_plan(out: Path) -> dict[str, Any] | None:
    """What is noted in a folder; None where nothing is."""
    path = out / PLAN
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ByolaError(
            f"{path}, which says what is compared there, cannot be read ({one_line(error)}); put it back, or give "
            "another --out"
        ) from error
    return values if isinstance(values, dict) else {}
