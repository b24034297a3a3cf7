"""One measurement of recommending in a process of its own, so that its memory is its own.

Started by :mod:`benchmarks.recommend`, which hands in a JSON object on stdin and reads one from the
last line of stdout.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.train_data import AS_OF, dataset
from pipeline.lake.lake import Lake
from pipeline.settings.settings import load_settings
from training.data.reader import DataSet, read_dataset
from training.models import build
from training.models.parts.base import Model
from training.models.parts.recurrent import RecurrentModel
from training.recommend.recommend import recommend
from training.registry.artefact import save_model
from training.registry.mlflow_registry import LiveModel

_EVENTS_PER_USER = 25
_MIB = 1 << 20


def main(order: dict[str, Any]) -> dict[str, Any]:
    """Publish once, from the data set's folder to the table and the file."""
    torch.set_num_threads(order["threads"])
    work, items = Path(order["work"]), order["items"]
    folder = dataset(work / "data", order["users"] * _EVENTS_PER_USER, items, 0)
    parameters = {"width": order["width"], "device": "cpu"}
    if order["system"] == "hrnn_trend":
        parameters["similar_sessions"] = order["similar_sessions"]
    model = _model(work, order["system"], folder, parameters)
    place = work / f"lake-{order['system']}-{items}"
    shutil.rmtree(place, ignore_errors=True)
    rules = {"k": order["k"], "exclude_seen": order["exclude_seen"]}
    settings = load_settings(None, {"work": str(place), "recommend": rules})
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    lake.snapshots()  # a lake that exists
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    done = recommend(settings, lake, model, folder, AS_OF, lambda _done, _all: None)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    scored = done.users / done.seconds["score"]
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    facts = {
        "system": order["system"],
        "items": items,
        "users": done.users,
        "rows": done.rows,
        "users_per_s": round(done.users / took, 1),
        "users_per_cpu_s": round(done.users / used_s, 1),
        "scoring_users_per_s": round(scored, 1),
        "wall_s": round(took, 2),
        "cpu_s": round(used_s, 2),
        "seconds": {name: round(value, 2) for name, value in done.seconds.items()},
        "peak_mib": round(after.ru_maxrss / 1024),
        "file_mib": round(done.path.stat().st_size / _MIB, 1),
    }
    shutil.rmtree(place)
    if order["system"] != "recent_pop":
        bound = _products_per_s(order["width"], items)
        facts |= {"bound_users_per_s": round(bound), "share_of_bound": round(scored / bound, 3)}
    return facts


def _model(work: Path, name: str, folder: Path, parameters: dict[str, Any]) -> LiveModel:
    """A model of the right size; what its weights are makes no difference to the speed."""
    models = work / "models"
    label = f"of-{folder.name}-" + "-".join(str(value) for value in parameters.values())
    made = sorted(models.glob(f"{name}-*/{label}"))
    if not made:
        data = read_dataset(folder)
        neural = name != "recent_pop"
        system = build(name, parameters if neural else {})
        metrics = {} if _untrained(system, data) else system.fit(data, 0, lambda _progress: None)
        given = parameters if neural else {}
        model_id = save_model(models, system, given, data, 0, metrics, "benchmark")
        made = [models / model_id / label]
        made[0].touch()
    return LiveModel(made[0].parent.name, "1", made[0].parent, None)


def _untrained(system: Model, data: DataSet) -> bool:
    """Give a network its first weights instead of training it."""
    if not isinstance(system, RecurrentModel):
        return False
    from training.batching.targets import split_targets
    from training.nn.input_encoding import InputEncoding

    system._encoding = InputEncoding.of(
        data, forgets=False, context=False, items=False, users=False
    )
    system._net, _ = system._built(data, np.ones(len(data.item_ids), np.int64), 0, None)
    system._prepare(data, split_targets(data.histories, data.histories.is_target, 0.0), None)
    return True


def _products_per_s(width: int, items: int) -> float:
    """Users a second whose scores one matrix product gives, with nothing else done to them."""
    states, vectors = torch.rand(256, width), torch.rand(min(items, 16_384), width)
    out = torch.empty(256, len(vectors))
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        torch.mm(states, vectors.T, out=out)
        best = min(best, time.perf_counter() - began)
    return 256 / (best * items / len(vectors))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.stdin.read()))), flush=True)
