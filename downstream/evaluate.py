"""One evaluation: a task, an embedding and a protocol become scores, and a cell on disk."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np

from byol_a import __version__
from byol_a.data.report import FileReport
from byol_a.data.worker_pool import available_cores
from downstream.entrants import LOGMEL, Entrant
from downstream.features import EmbeddingCache, EmbeddingSource
from downstream.protocols import EvaluationProtocol, ProbeResult, make_protocol
from downstream.results import EmbeddingMap
from downstream.tasks import Task

MOST_MAPPED = 20_000
COUNTED = ("seeds", "seed", "repeats", "resamples")


@dataclass(frozen=True)
class Outcome:
    """What one entrant reached on one task under one protocol.

    Attributes:
        task: with the clips that could be used.
        about: cell.json, see `downstream.results.Cell`.
        map: the embeddings in a plane; None where none was asked for.
    """

    entrant: Entrant
    task: Task
    dim: int
    problems: FileReport
    results: list[ProbeResult]
    about: dict[str, Any]
    map: EmbeddingMap | None


def evaluate(
    task: Task,
    entrant: Entrant,
    protocols: Sequence[EvaluationProtocol],
    cache: EmbeddingCache,
    device: str,
    say: Callable[[str], None],
    *,
    draw_map: bool = False,
    progress: bool | None = None,
) -> list[Outcome]:
    """Embed the task's clips and score them under each protocol; `say` is told what goes on.

    Whole clips are embedded first: files that cannot be used are known from then on and left out.

    Raises:
        UsageError: if a protocol trains the network and there is none.
        ByolaError: if no file at all could be used, or an embedding is not finite.
    """
    for protocol in protocols:
        if protocol.needs_network:
            from downstream.protocols.finetune import trainable

            trainable(entrant.features)  # said before the long part
    began = time.monotonic()
    say(f"{entrant.title}: embedding {len(task.clips):,} clips")
    source = EmbeddingSource(entrant.features, task.clips, cache, progress)
    embeddings = source.matrix()
    usable = source.usable()
    if len(source.problems):
        say(f"{entrant.title}: {source.problems.summary(len(task.clips))}; left out of the scores")
    left, of_usable = task.only(usable), source.only(usable)
    embedding_seconds = time.monotonic() - began
    points = _map(left, of_usable.matrix()) if draw_map else None
    about_entrant, about_task = _describe_entrant(entrant, embeddings.shape[1]), _describe_task(task, left, source)
    outcomes = []
    for protocol in protocols:
        started, begun = time.time(), time.monotonic()
        say(f"{entrant.title}: {protocol.name} protocol on {embeddings.shape[1]} dimensions")
        results = protocol.run(left, of_usable, device, progress)
        about = {
            "entrant": about_entrant,
            "task": about_task,
            "protocol": {
                "name": protocol.name,
                "settings": settings_of(protocol),
                "changed": changed_settings(protocol, task),
            },
            "results": [_describe_result(result) for result in results],
            "run": {
                "command": shlex.join(["byol-a", *sys.argv[1:]]),
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
                "seconds": round(time.monotonic() - begun, 3),
                "embedding_seconds": round(embedding_seconds, 3),
                **surroundings(device),
            },
        }
        outcomes.append(Outcome(entrant, left, embeddings.shape[1], source.problems, results, about, points))
        points = None  # one map serves every protocol
    return outcomes


def protocols_for(model: str, entrant: Entrant, protocols: Sequence[EvaluationProtocol]) -> list[EvaluationProtocol]:
    """The protocols that an entrant can take part in: a log-mel control beside `model` has no network to train.

    Asked for by itself, as `logmel`, it is left to the protocol to refuse.
    """
    has_network = entrant.control != "logmel" or model == LOGMEL
    return [protocol for protocol in protocols if has_network or not protocol.needs_network]


def settings_of(protocol: EvaluationProtocol) -> dict[str, Any]:
    """A protocol's settings as JSON values."""
    assert is_dataclass(protocol) and not isinstance(protocol, type)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(protocol).items()}


def changed_settings(protocol: EvaluationProtocol, task: Task) -> dict[str, Any]:
    """The settings that are not those which the protocol takes for this task by itself.

    How many seeds and resamples there are makes a score more or less certain, not another one.
    """
    usual = settings_of(make_protocol(protocol.name, task.protocols.get(protocol.name, {})))
    return {key: value for key, value in settings_of(protocol).items() if value != usual[key] and key not in COUNTED}


def clips_digest(task: Task) -> str:
    """32 hexadecimal digits of what is asked of which clip: names below the root, sections, labels and parts.

    The audio plays no part: `EmbeddingSource.data_fingerprint` is of that.
    """
    digest, root = hashlib.blake2b(digest_size=16), os.path.join(task.root, "")  # noqa: PTH118 (fast for millions)
    for clip in task.clips:
        about = (str(clip.path).removeprefix(root), clip.section, clip.labels, clip.part, clip.group)
        digest.update(repr(about).encode())
    return digest.hexdigest()


def surroundings(device: str) -> dict[str, Any]:
    """The versions and the machine that scores were made with."""
    import torch

    return {
        "package_version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "cores": available_cores(),
    }


def _describe_entrant(entrant: Entrant, dim: int) -> dict[str, Any]:
    features = entrant.features
    return {
        "title": entrant.title,
        "model": features.name,
        "fingerprint": features.fingerprint(),
        "dim": dim,
        "control": entrant.control,
        "weight_seed": entrant.weight_seed,
        "pooling": getattr(features, "pooling", None),
        "layer": getattr(features, "layer", None),
    }


def _describe_task(listed: Task, used: Task, source: EmbeddingSource) -> dict[str, Any]:
    rounds = used.rounds()
    return {
        "name": listed.name,
        "title": listed.title or listed.name,
        "domain": listed.domain,
        "source": listed.source,
        "label": listed.label,
        "classes": list(listed.classes),
        "multi_label": listed.multi_label,
        "metrics": list(listed.metrics),
        "unit_seconds": listed.unit_seconds,
        "split": listed.split,
        "split_made_here": listed.split_made_here,
        "warnings": listed.warnings(),
        "clips": len(used.clips),
        "parts": dict(Counter(clip.part for clip in used.clips)),
        "unusable": len(listed.clips) - len(used.clips),
        "expected_clips": listed.expected_clips,
        "folds": len(rounds),
        "tested": sum(len(part.test) for part in rounds),
        "clips_digest": clips_digest(listed),
        "data_fingerprint": source.data_fingerprint(),
    }


def _describe_result(result: ProbeResult) -> dict[str, Any]:
    return {
        "probe": result.probe,
        "setting": result.setting,
        "title": result.title,
        "seeds": list(result.seeds),
        "chosen": result.chosen,
        "metrics": {name: asdict(score) for name, score in result.metrics.items()},
    }


def _map(task: Task, embeddings: np.ndarray) -> EmbeddingMap:
    from downstream.report.projection import project

    labels = np.asarray([", ".join(clip.labels) for clip in task.clips])
    points, chosen, method = project(embeddings, labels, most=MOST_MAPPED)
    paths = np.asarray([str(task.clips[index].path) for index in chosen])
    return EmbeddingMap(points, paths, labels[chosen], method)
