"""Several processes that train one model, each on its part of every batch.

`torchrun` starts them and tells each its place by environment variables.  Gradients are summed, so
what is learned is what one process would learn.  Every rank hears the same sums, bit for bit, and
so comes to the same decisions.  R rows of a gradient, D width, P processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import HourglassError

_PATIENCE = timedelta(minutes=30)  # a rank may validate or write a checkpoint in the meantime


def local_rank() -> int:
    """Place of this process among those that `torchrun` started on this machine; 0 is alone."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def joined_group() -> Iterator[ProcessGroup]:
    """Take part in what `torchrun` started; without it, be alone.

    GPUs talk through NCCL, everything else through Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield ProcessGroup.here()
        return
    gpus = torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_PATIENCE)
    try:
        yield ProcessGroup.here()
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together; alone, every exchange gives back what it was given."""

    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls) -> ProcessGroup:
        """Those of PyTorch's process group, if there is one."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each dense tensor by its sum over all ranks, in one exchange."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, summed in zip(tensors, parts, strict=True):
            tensor.copy_(summed.view_as(tensor))

    def add_rows(
        self, gradients: Sequence[Tensor | None], tables: Sequence[Tensor]
    ) -> list[Tensor]:
        """Sums over all ranks of row-sparse gradients of tables (V, D); None has no row.

        Returns sparse gradients with the rows of all ranks, in the same order on each; a row that
        several ranks looked up comes several times.
        """
        own = [_parts(gradient, table) for gradient, table in zip(gradients, tables, strict=True)]
        if not own:
            return []
        counts = torch.tensor([len(rows) for rows, _ in own], device=tables[0].device)
        of_all = [torch.empty_like(counts) for _ in range(self.world)]
        dist.all_gather(of_all, counts)
        sizes = torch.stack(of_all).tolist()  # (P, tables)
        summed = []
        for at, (rows, values) in enumerate(own):
            size = [int(counted[at]) for counted in sizes]
            all_rows, all_values = _gathered(rows, size), _gathered(values, size)
            summed.append(
                torch.sparse_coo_tensor(
                    all_rows[None], all_values, tables[at].shape, check_invariants=False
                )
            )
        return summed

    def all_gather_bytes(self, own: bytes) -> list[bytes]:
        """What each rank gave, in the order of ranks."""
        if self.world == 1:
            return [own]
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        size = [int(length) for length in sizes]
        content = _gathered(torch.frombuffer(bytearray(own or b"\0"), dtype=torch.uint8), size)
        return [piece.numpy().tobytes() for piece in torch.split(content, size)]

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """The numbers of rank 0."""
        if self.world == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(shared, src=0)
        numbers: list[float] = shared.tolist()
        return numbers

    def all_equal(self, text: str) -> bool:
        """Whether all ranks gave the same text."""
        return len(set(self.all_gather_bytes(text.encode()))) == 1


def _parts(gradient: Tensor | None, table: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R,) and values (R, D) of a gradient that may be missing, or dense."""
    if gradient is None:
        rows = torch.empty(0, dtype=torch.int64, device=table.device)
        return rows, table.new_empty(0, *table.shape[1:])
    if not gradient.is_sparse:
        return torch.arange(len(gradient), device=gradient.device), gradient
    return gradient._indices()[0], gradient._values()


def _gathered(own: Tensor, sizes: Sequence[int]) -> Tensor:
    """The tensors of all ranks, one after another; they differ in length only."""
    longest = max(sizes)
    if not longest:
        return own[:0]
    padded = own.new_zeros(longest, *own.shape[1:])
    mine = sizes[dist.get_rank()]
    padded[:mine] = own[:mine]
    received = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(received, padded)
    return torch.cat([row[:size] for row, size in zip(received, sizes, strict=True)])


def stop_together(model_name: str, failure: Exception | None, anywhere: bool) -> None:
    """End this process for its own failure, or because another one failed.

    Raises:
        Exception: ``failure``, if there is one.
        HourglassError: only another process failed.
    """
    if failure is not None:
        raise failure
    if anywhere:
        raise HourglassError(f"{model_name}: another process failed: its message says why")
