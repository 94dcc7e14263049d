"""What an ONNX file would run, read from its bytes before any engine sees it.

ONNX is a protocol buffer; of its wire format (protobuf.dev/programming-guides/encoding) the few fields below are
enough to list operators, opsets, inputs, outputs and references to other files. Everything else is skipped by length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# Of the standard domain, what the networks here and their usual relatives need. Nothing that loops, samples or
# carries a program of its own; `If` comes with squeezes of dimensions that are unknown at export.
_NAMES = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose CumSum DepthToSpace DequantizeLinear Div DynamicQuantizeLinear
    Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity If InstanceNormalization
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max MaxPool Min Mish Mod Mul Neg
    Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Size Slice
    Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())
STANDARD_DOMAINS = ("", "ai.onnx")
OPSETS = range(13, 22)  # 21 is the newest that onnxruntime 1.20, the oldest allowed, runs
NEWEST_IR = 10  # likewise
_DEEPEST = 8


class ScanError(ValueError):
    """The bytes are no ONNX model, or one that is damaged."""


@dataclass
class Scan:
    """What a model declares.

    Attributes:
        ir_version: of the ONNX file format.
        opsets: domain -> version.
        operators: (domain, operator), of subgraphs too.
        inputs, outputs: names of the main graph.
        external: tensors whose values lie in another file.
        functions: operators the model defines itself.
        training: does it hold training graphs?
    """

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    training: bool = False


def scan(content: bytes) -> Scan:
    """Read a ModelProto. Raises ScanError when the bytes are not one."""
    found = Scan()
    graphs = 0
    for number, value in _fields(memoryview(content)):
        if number == 1:
            found.ir_version = _integer(value)
        elif number == 7:
            graphs += 1
            _graph(_message(value), found, depth=0)
        elif number == 8:
            fields = dict(_fields(_message(value)))
            found.opsets[_text(fields.get(1, b""))] = _integer(fields.get(2, 0))
        elif number == 20:
            found.training = True
        elif number == 25:
            found.functions.append(_text(dict(_fields(_message(value))).get(1, b"")))
    if graphs != 1:
        raise ScanError("it holds no graph" if graphs == 0 else "it holds several graphs")
    return found


def refusal(found: Scan) -> str | None:
    """Why a model is not run here, as a phrase; None when nothing speaks against it."""
    if found.external:
        return f"keeps values in another file ({found.external[0]})"
    if found.functions:
        return f"defines operators of its own ({found.functions[0]})"
    if found.training:
        return "holds training graphs"
    if not 3 <= found.ir_version <= NEWEST_IR:
        return f"has ONNX IR version {found.ir_version}, known are 3 to {NEWEST_IR}"
    for domain, version in found.opsets.items():
        if domain not in STANDARD_DOMAINS:
            return f"asks for operators of the unknown domain {domain!r}"
        if version not in OPSETS:
            return f"has opset {version}, known are {OPSETS.start} to {OPSETS.stop - 1}"
    if not found.opsets:
        return "names no opset"
    for domain, operator in sorted(found.operators):
        if domain not in STANDARD_DOMAINS or operator not in OPERATORS:
            return f"uses the unknown operator {f'{domain}.{operator}' if domain else operator}"
    return None


def _graph(data: memoryview, found: Scan, depth: int) -> None:
    if depth > _DEEPEST:
        raise ScanError("its graphs are nested too deeply")
    for number, value in _fields(data):
        if number == 1:
            _node(_message(value), found, depth)
        elif number == 5:
            _tensor(_message(value), found)
        elif number == 15:
            _sparse_tensor(_message(value), found)
        elif number in (11, 12) and depth == 0:
            name = _text(dict(_fields(_message(value))).get(1, b""))
            (found.inputs if number == 11 else found.outputs).append(name)


def _node(data: memoryview, found: Scan, depth: int) -> None:
    operators, domains = [], []
    for number, value in _fields(data):
        if number == 4:
            operators.append(_text(value))
        elif number == 7:
            domains.append(_text(value))
        elif number == 5:
            _attribute(_message(value), found, depth)
    # A repeated field means "the last one wins"; noting every pair leaves nothing to argue about.
    found.operators.update((domain, operator) for operator in operators or [""] for domain in domains or [""])


def _attribute(data: memoryview, found: Scan, depth: int) -> None:
    for number, value in _fields(data):
        if number in (5, 10):
            _tensor(_message(value), found)
        elif number in (6, 11):
            _graph(_message(value), found, depth + 1)
        elif number in (22, 23):
            _sparse_tensor(_message(value), found)


def _sparse_tensor(data: memoryview, found: Scan) -> None:
    for number, value in _fields(data):
        if number in (1, 2):
            _tensor(_message(value), found)


def _tensor(data: memoryview, found: Scan) -> None:
    name, external = "", False
    for number, value in _fields(data):
        if number == 8:
            name = _text(value)
        elif number == 13 or (number == 14 and _integer(value) != 0):
            external = True
    if external:
        found.external.append(name or "unnamed tensor")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of one message: integers as int, everything with a length as a view of its bytes."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(data, position)
        else:
            if wire == 2:
                length, position = _varint(data, position)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise ScanError("it is no protocol buffer")
            if position + length > end:
                raise ScanError("it ends too early")
            value = data[position : position + length]
            position += length
        if number == 0:
            raise ScanError("it is no protocol buffer")
        yield number, value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ScanError("it ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ScanError("it is no protocol buffer")


def _message(value: int | memoryview | bytes) -> memoryview:
    if isinstance(value, int):
        raise ScanError("it is no ONNX model")
    return memoryview(value)


def _integer(value: int | memoryview | bytes) -> int:
    if not isinstance(value, int):
        raise ScanError("it is no ONNX model")
    return value


def _text(value: int | memoryview | bytes) -> str:
    try:
        return bytes(_message(value)).decode("utf-8")
    except UnicodeDecodeError:
        raise ScanError("it is no ONNX model") from None
