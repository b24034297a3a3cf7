"""Which device a fit runs on, and what it needs there."""

from __future__ import annotations

import os
import shutil

import torch

from pipeline.errors import HourglassError
from pipeline.text.wording import counted
from training.trainer.distributed import local_rank


def device_of(name: str) -> torch.device:
    """The device a parameter names: ``cpu``, ``cuda``, or ``auto`` for whichever there is.

    Of several processes that `torchrun` started on a machine, each gets a GPU of its own.

    Raises:
        HourglassError: ``cuda`` was asked for on a machine without it, or there are more processes
            than GPUs.
    """
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if name == "cuda":
            raise HourglassError("device = 'cuda', but this machine has no usable GPU: use 'auto'")
        return torch.device("cpu")
    rank, gpus = local_rank(), torch.cuda.device_count()
    if rank >= gpus:
        raise HourglassError(
            f"process {rank + 1} of this machine finds {counted(gpus, 'GPU')}: start torchrun "
            f"with --nproc-per-node {gpus}, or use device 'cpu'"
        )
    return torch.device("cuda", rank)


def require_compiler(model_name: str) -> None:
    """Refuse ``compile`` on a machine that cannot compile.

    Raises:
        HourglassError: there is no C++ compiler, which PyTorch calls.
    """
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise HourglassError(
            f"{model_name}: compile = true needs a C++ compiler, and there is no "
            f"{' or '.join(names)}: install g++, or set compile to false"
        )
