"""Where and how this process computes: dtype, threads, CPU or GPU."""

from __future__ import annotations

import torch

_on_gpu = False


def configure(*, dtype: str, threads: int, accelerator: str = "cpu") -> None:
    """Set the dtype, the number of threads and the device of this process.

    Args:
        dtype: `"float32"` or `"float64"`, for modules built from now on.
        threads: Threads per operation.
        accelerator: `"cpu"`, or `"gpu"` for timed fits to use one where there is one; everything
            else stays on the CPU.
    """
    global _on_gpu
    torch.set_default_dtype(getattr(torch, dtype))
    torch.set_num_threads(threads)
    _on_gpu = accelerator == "gpu" and torch.cuda.is_available()


def accelerator() -> str:
    """The device that computes here: `"cpu"`, or the name of an accelerator."""
    return torch.cuda.get_device_name() if _on_gpu else "cpu"


def precision() -> str:
    """What a `Trainer` is told about the dtype."""
    return "64-true" if torch.get_default_dtype() == torch.float64 else "32-true"


def chosen() -> torch.device:
    """The device of timed fits."""
    return torch.device("cuda" if _on_gpu else "cpu")


def wait() -> None:
    """Wait until the device has computed everything it was given."""
    if _on_gpu:
        torch.cuda.synchronize()
