"""safetensors whose bytes are the same every time: the library writes the header's own entries in a random order."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors.torch import save

_ALIGNED = 8  # bytes; the tensors begin at a multiple of it


def to_bytes(tensors: Mapping[str, torch.Tensor], header: Mapping[str, str]) -> bytes:
    """The content of a safetensors file with ``header`` as its metadata, by name."""
    plain = {name: value.detach().contiguous() for name, value in tensors.items()}
    content = save(plain, dict(header))
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]
