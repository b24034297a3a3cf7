"""What a fit runs on: recorded beside the model, and no part of it."""

from __future__ import annotations

from training.models.parts.base import GradientTrained, System


def machine_facts(system: System, device: str, processes: int) -> dict[str, str]:
    """The chip's name, threads, processes and PyTorch's version.

    Args:
        system: what is fitted.
        device: cpu, cuda or auto.
        processes: that train together.

    Raises:
        HourglassError: there is no such device here.
    """
    import torch

    from training.trainer.device import device_of

    if not isinstance(system, GradientTrained):
        return {"device": "cpu"}
    found = device_of(device)
    return {
        "device": torch.cuda.get_device_name(found) if found.type == "cuda" else "cpu",
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "torch": torch.__version__,
    }
