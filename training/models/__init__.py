"""The models by name; each lives in one file with its parameters.

Counting and neighbour models, the configurations of HRNN, and encoders with the rating head are
classes of their own.  A sequence encoder is a module beside its parameters, and `SequenceModel`
does the rest; a network that predicts values is one too, and `ValueModel` does the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from training.parameters import parse_parameters

if TYPE_CHECKING:
    from training.models.parts.base import Model

_CLASSES = {
    "random": "Random",
    "pop": "Pop",
    "recent_pop": "RecentPop",
    "p_pop": "PPop",
    "item_knn": "ItemKnn",
    "vsknn": "VSknn",
    "stan": "Stan",
    "gru4rec": "Gru4Rec",
    "hrnn": "Hrnn",
    "hrnn_trend": "HrnnTrend",
    "hrnn_meta": "HrnnMeta",
    "hrnn_rating": "HrnnRating",
}
# Encoders with the rating head, in the folder ``rating``.
_RATED = {
    "fm_rating": "FmRating",
    "pmf_rating": "PmfRating",
}
# Networks that predict values, in the same folder.
_VALUED = {
    "i_autorec": "IAutorec",
    "rrn": "Rrn",
    "time_svd": "TimeSvd",
}
# By folder: where a sequence encoder lives.
ENCODERS = {
    "asars": ("attention", "Asars"),
    "esasrec": ("attention", "Esasrec"),
    "hstu": ("attention", "Hstu"),
    "m3": ("attention", "M3"),
    "mtam": ("attention", "Mtam"),
    "narm": ("attention", "Narm"),
    "sasrec": ("attention", "Sasrec"),
    "stamp": ("attention", "Stamp"),
    "tisasrec": ("attention", "Tisasrec"),
    "caser": ("convolution", "Caser"),
    "wavenet": ("convolution", "Wavenet"),
    "gru_layers": ("recurrent", "GruLayers"),
    "hgru": ("recurrent", "Hgru"),
    "hm_lstm": ("recurrent", "HmLstm"),
    "t_gru": ("recurrent", "TGru"),
    "t_seqrec": ("recurrent", "TSeqrec"),
    "bpr_mf": ("shallow", "BprMf"),
    "coevent_mf": ("shallow", "CoeventMf"),
    "context_fmc": ("shallow", "ContextFmc"),
    "deep_bow": ("shallow", "DeepBow"),
    "fm": ("shallow", "Fm"),
    "fmc": ("shallow", "Fmc"),
    "youtube_dnn": ("shallow", "YoutubeDnn"),
}
MODEL_NAMES = (*_CLASSES, *_RATED, *_VALUED, *ENCODERS)


def build(name: str, parameters: Mapping[str, Any]) -> Model:
    """An unfitted model; parameters that are not given keep their defaults.

    Raises:
        UsageError: the name or a parameter is unknown, or a value is wrong.
    """
    module, class_name = _source(name)
    # Imported on demand: PyTorch takes seconds, and most commands need no model.
    chosen = parse_parameters(parameters_class(name), name, parameters)
    maker = getattr(import_module(module), class_name)
    if name in ENCODERS:
        engine = import_module("training.models.parts.sequence")
        model: Model = engine.SequenceModel(name, chosen, maker)
    elif name in _VALUED:
        engine = import_module("training.models.parts.values")
        model = engine.ValueModel(name, chosen, maker)
    else:
        model = maker(chosen)
    return model


def parameter_names(name: str) -> set[str]:
    """What a system can be told.

    Raises:
        UsageError: the name is unknown.
    """
    return {field.name for field in dataclasses.fields(parameters_class(name))}


def parameters_class(name: str) -> type[Any]:
    """The dataclass of a system's parameters.

    Raises:
        UsageError: the name is unknown.
    """
    module, class_name = _source(name)
    kind: type[Any] = getattr(import_module(module), f"{class_name}Parameters")
    return kind


def _source(name: str) -> tuple[str, str]:
    """The module of a model, and the name of its class."""
    if name in ENCODERS:
        folder, class_name = ENCODERS[name]
        return f"training.models.{folder}.{name}", class_name
    if name in _RATED or name in _VALUED:
        return f"training.models.rating.{name}", {**_RATED, **_VALUED}[name]
    if name not in _CLASSES:
        raise UsageError(f"unknown system {name!r}: choose one of {', '.join(MODEL_NAMES)}")
    return f"training.models.{name}", _CLASSES[name]
