"""What makes an exported ONNX graph small: attention masks as constants, weights as fp16, repeated blocks once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import product

import numpy as np
import torch

_LARGE_CONSTANT = 1 << 16
_SMALLEST = 256  # tensors below this many values stay float32: nothing is saved


@contextmanager
def plain_masks() -> Iterator[None]:
    """Let the transformer's attention masks enter the graph as constants, not as the thousands of nodes that make them.

    MONAI computes them from the input's shape at every run; what a trace records of that takes longer to load than the
    network takes to run.
    """
    from monai.networks.nets import swin_unetr

    original = swin_unetr.compute_mask

    def masks(dims: list[int], window: tuple[int, ...], shift: tuple[int, ...], device: torch.device) -> torch.Tensor:
        region = np.zeros(dims, np.float32)
        for n, index in enumerate(product(range(3), repeat=len(dims))):
            region[tuple(_span(part, w, s) for part, w, s in zip(index, window, shift, strict=True))] = n
        blocks = region.reshape([m for d, w in zip(dims, window, strict=True) for m in (d // w, w)])
        order = [*range(0, 2 * len(dims), 2), *range(1, 2 * len(dims), 2)]
        ids = blocks.transpose(order).reshape(-1, int(np.prod(window)))
        values = np.where(ids[:, None, :] == ids[:, :, None], 0.0, -100.0).astype(np.float32)
        return torch.from_numpy(values).to(device)

    swin_unetr.compute_mask = masks
    try:
        yield
    finally:
        swin_unetr.compute_mask = original


def _span(part: int, window: int, shift: int) -> slice:
    """The ``part``-th of the three regions of a shifted window's axis (Liu et al., ICCV 2021, figure 4)."""
    return (slice(-window), slice(-window, -shift), slice(-shift, None))[part]


_PREFIX = "network."  # of the exported wrapper


def weights(content: bytes, wanted: Collection[str]) -> dict[str, torch.Tensor]:
    """The parameters of an exported network by their names, float32, as :func:`store_half` has kept them.

    Args:
        content: an ONNX model of ``export.to_onnx``.
        wanted: names of the network's parameters and buffers; buffers that the exporter leaves out are made by the
            network itself.

    Raises:
        KeyError: a parameter is not in it under its own name.
    """
    import onnx
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in onnx.load_from_string(content).graph.initializer}
    found = {}
    for name in wanted:
        held = tensors.get(f"{_PREFIX}{name}", tensors.get(f"{_PREFIX}{name}_half"))
        if held is None and not name.endswith("relative_position_index"):
            raise KeyError(name)
        if held is not None:
            values = numpy_helper.to_array(held)
            found[name] = torch.from_numpy(values.astype(np.float32) if values.dtype == np.float16 else values.copy())
    return found


def store_half(content: bytes) -> bytes:
    """Store an ONNX model's large tensors small, without changing a value.

    Weights that fp16 holds exactly become fp16 with a Cast back to float32. Constants that repeat a few blocks along
    their longest axis (attention masks: 512 windows, 8 kinds) become those blocks and a Gather.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    added, kept, rest = [], [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 and values.size >= _SMALLEST else None
        if half is None or not np.array_equal(half.astype(np.float32), values):
            kept.append(tensor)
            continue
        stored = f"{tensor.name}_half"
        kept.append(numpy_helper.from_array(half, stored))
        added.append(onnx.helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT))
    for node in graph.node:
        values = numpy_helper.to_array(node.attribute[0].t) if node.op_type == "Constant" else np.zeros(0)
        if values.size < _LARGE_CONSTANT:
            rest.append(node)
            continue
        axis = int(np.argmax(values.shape))
        blocks, index = np.unique(values, axis=axis, return_inverse=True)
        name = node.output[0]
        kept += [numpy_helper.from_array(blocks, f"{name}_blocks"), numpy_helper.from_array(index, f"{name}_index")]
        added.append(onnx.helper.make_node("Gather", [f"{name}_blocks", f"{name}_index"], [name], axis=axis))
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*added, *rest])
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
