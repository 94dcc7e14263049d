"""Running a bundle's networks with ONNX Runtime, on the CPU or, if asked for and possible, on a CUDA device."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BundleError, InputError, UsageError

if TYPE_CHECKING:
    import onnxruntime

DEVICES = ("auto", "cpu", "cuda")
_MOST_THREADS = 4  # more threads gain little on crops of 64^3


class Session:
    """One network, ready to run.

    Attributes:
        device: ``cpu`` or ``cuda``: where it really runs, which may change to ``cpu`` after a failure on the GPU.
        notes: sentences on what is not as asked for.
        threads: used by one run on the CPU.

    Args:
        model: bytes of the ONNX file.
        name: what errors call it.
        device: ``auto`` (CUDA where ONNX Runtime offers it), ``cpu`` or ``cuda``.
        threads: on the CPU; None: the physical cores, at most 4 (``OMP_NUM_THREADS`` lowers it).

    Raises:
        BundleError: ONNX Runtime refuses the model.
        UsageError: unknown device.
    """

    def __init__(self, model: bytes, name: str, device: str = "auto", threads: int | None = None) -> None:
        if device not in DEVICES:
            raise UsageError(f"The device {device!r} is unknown; choose {', '.join(DEVICES)}.")
        self.name = name
        self.notes: list[str] = []
        self.threads = threads or default_threads()
        self._model = model
        self.device = "cpu"
        self._session: onnxruntime.InferenceSession
        if device == "cuda" or (device == "auto" and "CUDAExecutionProvider" in _providers()):
            self._start_cuda()
        else:
            self._session = self._create(["CPUExecutionProvider"])

    @property
    def input_names(self) -> list[str]:
        """Names of the network's inputs."""
        return [entry.name for entry in self._session.get_inputs()]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run on ``image`` (float32, (1, 1, D, H, W)); output name -> float32 array.

        When a run fails on the GPU (its memory is full, usually) it is repeated on the CPU, which a note tells.

        Raises:
            BundleError: the network cannot be run on this image.
            InputError: there is too little memory.
        """
        import onnxruntime

        feed = {self.input_names[0]: np.ascontiguousarray(image, np.float32)}
        try:
            outputs = self._session.run(None, feed)
        except _failures(onnxruntime) as error:
            if self.device == "cpu":
                raise self._refused(error) from error
            self._fall_back(f"The GPU failed ({_first_line(error)})")
            return self(image)
        names = [entry.name for entry in self._session.get_outputs()]
        return {name: np.asarray(value, np.float32) for name, value in zip(names, outputs, strict=True)}

    def _refused(self, error: BaseException) -> InputError | BundleError:
        if _is_memory(error):
            return InputError(
                f"{self.name}: too little memory is free to run the network; close other programs and run again."
            )
        return BundleError(f"{self.name}: the network cannot be run ({_first_line(error)}).")

    def _start_cuda(self) -> None:
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            self._fall_back(
                "CUDA was asked for, but this ONNX Runtime has none (put onnxruntime-gpu in its place, see README)"
            )
            return
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN that were installed as Python packages
        try:
            self._session = self._create(["CUDAExecutionProvider", "CPUExecutionProvider"])
        except BundleError as error:
            # The error names the bundle's folder; this sentence goes into files that may leave.
            self._fall_back(f"The network did not start on the GPU ({_first_line(error.__cause__ or error)})")
            return
        if "CUDAExecutionProvider" in self._session.get_providers():
            self.device = "cuda"
        else:  # ONNX Runtime falls back without an error
            self.notes.append("CUDA could not be started (driver, CUDA or cuDNN missing), so the CPU computes.")

    def _fall_back(self, reason: str) -> None:
        self.notes.append(f"{reason}, so the CPU computes.")
        self.device = "cpu"
        self._session = self._create(["CPUExecutionProvider"])

    def _create(self, providers: Sequence[str]) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait cost twice the wall time on a machine that is busy with other work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what matters arrives as an exception or in get_providers()
        try:
            return onnxruntime.InferenceSession(self._model, options, providers=list(providers))
        except _failures(onnxruntime) as error:
            raise BundleError(f"{self.name}: ONNX Runtime refuses the network ({_first_line(error)}).") from error


def default_threads() -> int:
    """Physical cores this process may use, at most 4 and at most ``OMP_NUM_THREADS``."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = min(_MOST_THREADS, int(limit)) if limit.isdecimal() and int(limit) > 0 else _MOST_THREADS
    return max(1, min(most, _physical_cores()))


def _physical_cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        blocks = cpuinfo.read_text(encoding="utf-8", errors="replace").strip().split("\n\n")
        cores = {
            tuple(line for line in block.splitlines() if line.startswith(("physical id", "core id")))
            for block in blocks
        }
        if len(cores) > 1:
            return min(usable, len(cores))
    two_a_core = platform.machine().lower() in ("amd64", "x86_64") and usable > 2
    return usable // 2 if two_a_core else usable


def _providers() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


def _failures(runtime: Any) -> tuple[type[BaseException], ...]:
    """ONNX Runtime's exceptions have no common base of their own."""
    state = runtime.capi.onnxruntime_pybind11_state
    names = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented",
             "RuntimeException")  # fmt: skip
    return (*(getattr(state, name) for name in names if hasattr(state, name)), MemoryError, RuntimeError, ValueError)


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "failed to allocate memory" in str(error).lower()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
