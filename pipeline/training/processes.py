"""One training over several processes: each takes its share of every batch, and the gradient is that of the whole batch."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from pipeline import parent_death

STORE = "TRAINING_STORE"  # the folder in which the processes of `launch` find each other


@dataclass(frozen=True)
class Processes:
    """Those that train together, as one of them sees it; by default it is alone.

    Parameters
    ----------
    count : of processes
    rank : this one's number; 0 is the one that writes
    """

    count: int = 1
    rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence) -> Sequence:
        """This process's part of a batch: every `count`-th item."""
        return items[self.rank :: self.count]

    def together(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, ...) rows of this process to the rows of all, (B of all, ...), process after process.

        Gradients reach this process's own rows; `sum_gradients` adds what the others' rows give. So a loss of the gathered
        rows has the gradient that one process with the whole batch would have, whatever it is normalised by.
        """
        if self.count == 1:
            return rows
        with _named_loss():
            sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.count)]
            dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
            most = max(size.item() for size in sizes)
            padded = rows.detach().new_zeros(most, *rows.shape[1:])
            padded[: len(rows)] = rows.detach()
            gathered = [torch.empty_like(padded) for _ in range(self.count)]
            dist.all_gather(gathered, padded)
        parts = [part[: size.item()] for part, size in zip(gathered, sizes, strict=True)]
        parts[self.rank] = rows
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every parameter the sum of the gradients that the processes have for it, in one exchange."""
        gradients = [parameter.grad for parameter in parameters]
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _named_loss():
            dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))  # in place: the fused optimisers want the weights' layout

    def share_state(self, network: torch.nn.Module) -> None:
        """Give every process the first one's buffers, its batch statistics: those are kept, and the others had their own."""
        if self.count == 1:
            return
        with _named_loss():
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def gathered(self, value: Any) -> list:
        """The values of all processes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list = [None] * self.count
        with _named_loss():
            dist.all_gather_object(values, value)
        return values


@contextmanager
def joined(threads: int) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; `threads` of the CPU are shared among them.

    They talk through gloo on a CPU, through NCCL where there are GPUs, one for each process; on one machine these listen on
    the loopback interface only.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    torch.set_num_threads(max(1, threads // count))
    if count == 1:
        yield Processes()
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        if torch.cuda.device_count() < int(os.environ["LOCAL_WORLD_SIZE"]):
            raise ValueError(
                f"training.processes: {os.environ['LOCAL_WORLD_SIZE']} on this machine, which has {torch.cuda.device_count()} "
                "GPUs; each process needs one of its own"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    rank, folder = int(os.environ["RANK"]), os.environ.get(STORE)
    store = folder and dist.FileStore(f"{folder}/workers_{os.environ['TORCHELASTIC_RESTART_COUNT']}", count)
    dist.init_process_group("nccl" if has_gpu else "gloo", store=store, rank=rank, world_size=count)
    try:
        yield Processes(count, rank)
    finally:
        dist.destroy_process_group()


def is_started() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(count: int, module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module arguments` in `count` processes on this machine, with torchrun, and wait for their end.

    They find each other through files that only this user can open: torchrun's own servers listen on every interface.

    Raises
    ------
    ValueError : one of them failed, or was killed; the others are stopped then.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    with tempfile.TemporaryDirectory(prefix="training_") as folder:
        files = ["--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-endpoint", f"{folder}/torchrun"]
        command = parent_death.tied([*torchrun, *files, "-m", module, *arguments])
        # without the last, torchrun opens a server for its processes all the same
        environment = {**os.environ, STORE: folder, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        has_failed = subprocess.call(command, env=environment)
    if has_failed:
        raise ValueError(
            f"one of the {count} training processes failed or was killed; why stands above. The last checkpoint is kept: run "
            "the same command again, with `training: {processes: 1}` too if you like"
        )


@contextmanager
def _named_loss() -> Iterator[None]:
    """What torch says of a process that is gone is a page of addresses; the user wants to know who and what next."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(
            f"another training process is gone ({str(error).splitlines()[0]}); the last checkpoint is kept: run again"
        ) from error
