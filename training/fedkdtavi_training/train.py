"""One training loop for coarse, student and teacher: seeded, resumable after a kill, the same digest every time.

A checkpoint is one safetensors file (weights, their moving average, the optimiser's moments; the rest as JSON in its
header), replaced atomically. Sample n depends on the seed and n alone, so a run that was cut off ends in the same
weights as one that was not (with one thread, as always here).
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from fedkdtavi_core.errors import InputError, UsageError

from . import cache, data, given, losses, networks, optimizers
from .config import LossConfig, TrainConfig, differing, in_words
from .disk import TrainingError, make_folder, write_bytes, writing
from .seed_recipe import readout

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"


class NoDeviceError(UsageError):
    """The configuration asks for a device that is not here."""


def check_device(device: str) -> None:
    """Raise NoDeviceError where ``device`` is ``cuda`` and torch sees none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise NoDeviceError("The configuration says device cuda, and torch sees no CUDA device here; say cpu.")


def prepare_torch(device: str = "cpu") -> None:
    """One thread (several processes give more than several threads) and, on the CPU, deterministic kernels.

    Not on CUDA: the backward pass of a trilinear interpolation has none there, nor matrix products without a setting
    of the environment.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(device != "cuda")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to 1 % of ``lr``."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of tensors, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def told(loss: LossConfig, crop: int, closer_look_mm: float | None) -> dict[str, object]:
    """What weights say of how they are fed and read, for the bundle they come into."""
    looks = {} if closer_look_mm is None else {"closer_look_mm": closer_look_mm}
    return {**readout.told(loss.recipe), "crop_size": crop, "crop_spacing_mm": loss.spacing_mm, **looks}


class Run:
    """State of one training run; :func:`train` drives it."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        check_device(config.device)
        self.on_gpu = config.device == "cuda"
        if self.on_gpu:
            prepare_torch(config.device)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.on_gpu)
        self.network = networks.build(config.task, config.network, seed=config.seed)
        if config.init is not None:
            start, task, _ = given.read(config.init)
            given.check_fits(config.init, (task, start.arguments), (config.task, self.network.arguments), {})
            self.network.load_state_dict(start.state_dict())
        self.network.train().to(config.device)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items() if v.is_floating_point()}
        self.parameters = dict(self.network.named_parameters())
        self.optimizer = optimizers.build(
            config.optimizer, self.network, lr=config.lr, weight_decay=config.weight_decay
        )
        self.step = 0
        self.bad = 0
        self.skipped = 0
        self.learns_from = ""  # digest of the cases' names, where somebody sets it: a run must not go on with others

    def advance(
        self, batch: dict[str, torch.Tensor], penalty: Callable[[], torch.Tensor] | None = None
    ) -> dict[str, float] | None:
        """One optimiser step; the loss's parts, or None when it was refused because something was not finite.

        ``penalty`` is added to the loss, if given.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        if self.on_gpu:
            batch = {name: value.to("cuda", non_blocking=True) for name, value in batch.items()}
        image = batch["image"].to(memory_format=torch.channels_last_3d)
        self.optimizer.zero_grad()
        # On the CPU all is float32: bfloat16 gradients of small convolutions are wrong there.
        with torch.autocast("cuda", torch.float16, enabled=self.on_gpu):
            outputs = self.network(image)
        if self.on_gpu:
            outputs = {name: value.float() for name, value in outputs.items()}
        loss, parts = losses.total(config.task, outputs, batch, config.loss)
        if penalty is not None:
            loss = loss + penalty()
        finite = bool(torch.isfinite(loss))
        if finite:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.grad_clip)
            finite = bool(torch.isfinite(norm))
        self.step += 1
        if not finite:
            if self.on_gpu and bool(torch.isfinite(loss)):
                self.scaler.update()  # the gradients were scaled too high: the next ones are scaled less
            self.bad += 1
            self.skipped += 1
            if self.bad >= config.bad_steps:
                raise TrainingError(f"The loss was not finite {self.bad} times in a row; lower lr or check the cache.")
            return None
        self.bad = 0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        keep = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if name in self.average:
                    self.average[name].lerp_(value, 1 - keep)
        return {"loss": float(loss.detach()), "grad": float(norm), **parts}

    def save(self, path: Path) -> None:
        """Write the checkpoint. Raises TrainingError when the disk is full; the older one stays."""
        from safetensors.torch import save

        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= self.moments()
        state = {"step": self.step, "bad": self.bad, "skipped": self.skipped, "config": self.config.digest()}
        state["learns_from"] = self.learns_from
        state |= {"scaler": self.scaler.state_dict()} if self.on_gpu else {}
        content = save({k: v.detach().contiguous() for k, v in tensors.items()}, {"state": json.dumps(state)})
        write_bytes(path, content)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: the file is no checkpoint of a training; a pickle is none.
            UsageError: it belongs to another configuration, or to other cases.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                state = json.loads((file.metadata() or {})["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} is no checkpoint of a training ({error}); remove it and start again.") from error
        if state["config"] != self.config.digest():
            which = in_words(_differing(path.with_name("config.json"), self.config))
            raise UsageError(f"{path} was written with another configuration{which}; give another output folder.")
        if state.get("learns_from", self.learns_from) != self.learns_from:
            raise UsageError(
                f"{path}: the cache holds other cases than when this run began; give the same ones, or another output "
                "folder."
            )
        self.step, self.bad, self.skipped = state["step"], state["bad"], state["skipped"]
        if self.on_gpu:
            self.scaler.load_state_dict(state["scaler"])
        self.network.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        for name, value in self.average.items():
            value.copy_(tensors[f"average.{name}"])
        self.set_moments(tensors)

    def moments(self) -> dict[str, torch.Tensor]:
        """The optimiser's state by the names that :meth:`set_moments` takes."""
        return {
            f"optimizer.{key}.{name}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }

    def set_moments(self, tensors: dict[str, torch.Tensor]) -> None:
        """Give the optimiser the state that :meth:`moments` told; parameters that are not in it start anew."""
        for name, parameter in self.parameters.items():
            found = {
                key: tensors[f"optimizer.{key}.{name}"].clone(memory_format=torch.preserve_format)
                for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
                if f"optimizer.{key}.{name}" in tensors
            }
            for key in {"exp_avg", "exp_avg_sq"} & found.keys():
                # In the parameter's own memory layout, as the optimiser made it.
                found[key] = torch.empty_like(parameter).copy_(found[key])
            if "momentum_buffer" in found:  # Muon's, of the flattened weight
                found["momentum_buffer"] = found["momentum_buffer"].to(parameter.device)
            if found:
                self.optimizer.state[parameter].update(found)

    def averaged(self) -> torch.nn.Module:
        """A copy of the network with the moving average of the weights, in evaluation mode."""
        network = networks.build(self.config.task, self.config.network)
        network.load_state_dict(self.network.state_dict() | self.average)
        return network.eval()


def train(config: TrainConfig, *, echo: bool = True) -> dict[str, object]:
    """Run (or go on with) one configuration in ``config.out``; returns a summary with the weights' digest.

    Writes ``config.json``, ``curve.csv``, ``checkpoint.safetensors``, and at the end ``weights.safetensors`` (the
    moving average), ``validation.csv`` and ``summary.json``.
    """
    prepare_torch()
    out = config.out
    make_folder(out)
    paths = cache.files(config.cache)
    learning, held_out = part(paths, config.held_out)
    run = Run(config)
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    run.learns_from = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if (out / CHECKPOINT).exists():
        run.resume(out / CHECKPOINT)
    # Only now: a run that is refused leaves the file of the one that lies there.
    write_bytes(out / "config.json", (config.model_dump_json(indent=2) + "\n").encode())
    with _Curve(out / "curve.csv", run.step) as curve:
        _loop(run, learning, curve, echo)
    network = run.averaged()
    summary: dict[str, object] = {
        "task": config.task,
        "steps": run.step,
        "skipped": run.skipped,
        "cases": len({path.resolve() for path in learning}),
        "digest": digest(network.state_dict()),
        "config": config.digest(),
        **told(config.loss, config.crop, config.closer_look_mm),
    }
    from . import validation

    summary["validation"] = validation.validate(network, config, held_out, out / "validation.csv")
    with writing(out / WEIGHTS):
        networks.save(network, config.task, out / WEIGHTS, summary)
    write_bytes(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _differing(older: Path, config: TrainConfig) -> list[str]:
    """The keys in which a run's configuration was another one, where its file is still there."""
    try:
        before = json.loads(older.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return differing(before, json.loads(config.model_dump_json())) if isinstance(before, dict) else []


def part(paths: list[Path], held_out: int) -> tuple[list[Path], list[Path]]:
    """The files to learn from, and the last ``held_out`` cases, none of which is learned from under another name.

    A case listed twice is drawn twice as often; held out it is once.

    Raises:
        UsageError: nothing would be left to learn from.
    """
    cases = {path.resolve(): path for path in paths}
    kept = dict(list(cases.items())[max(len(cases) - held_out, 0) :])
    learning = [path for path in paths if path.resolve() not in kept]
    if not learning:
        raise UsageError(f"The cache holds {len(cases)} cases, {held_out} are held out: nothing is left to learn from.")
    return learning, list(kept.values())


def batches(config: TrainConfig, dataset: Dataset, first: int, end: int) -> DataLoader:
    """The batches of the steps ``first``..``end`` - 1 of a run; step n always shows the same samples."""
    return DataLoader(
        dataset,
        batch_size=config.batch,
        sampler=range(first * config.batch, end * config.batch),
        num_workers=config.workers,
        pin_memory=config.device == "cuda",
        prefetch_factor=4 if config.workers else None,
        multiprocessing_context="spawn" if config.workers else None,
    )


def _loop(run: Run, paths: list[Path], curve: _Curve, echo: bool) -> None:
    config = run.config
    if run.step >= config.steps:
        return
    loader = batches(config, data.dataset(config, paths), run.step, config.steps)
    began = saved = time.monotonic()
    first, waited, ready = run.step, 0.0, time.monotonic()
    for batch in loader:
        waited += time.monotonic() - ready
        parts = run.advance(batch)
        if parts is not None:
            curve.write(run.step, parts)
        now = time.monotonic()
        due = config.checkpoint_steps and run.step % config.checkpoint_steps == 0
        if due or now - saved > 60 * config.checkpoint_minutes or run.step == config.steps:
            curve.flush()
            run.save(config.out / CHECKPOINT)
            saved = now
        if echo and (run.step % config.log_every == 0 or run.step == config.steps):
            per_step = (now - began) / (run.step - first)
            left = per_step * (config.steps - run.step)
            words = "refused" if parts is None else " ".join(f"{k} {v:.3f}" for k, v in parts.items())
            share = waited / (now - began)
            print(
                f"step {run.step}/{config.steps} {words} | {per_step:.2f} s/step, waiting {share:.0%}, "
                f"{left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )
        ready = time.monotonic()


class _Curve:
    """The loss of every step as CSV; rows behind the checkpoint that a run resumes from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = []
        if path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.reader(file) if row and (row[0] == "step" or int(row[0]) <= step)]
        self.file = path.open("w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerows(kept)
        self.empty = not kept

    def __enter__(self) -> _Curve:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, step: int, parts: dict[str, float]) -> None:
        if self.empty:
            self.writer.writerow(["step", *parts])
            self.empty = False
        self.writer.writerow([step, *(f"{value:.5f}" for value in parts.values())])

    def flush(self) -> None:
        self.file.flush()
