"""Our messages inside FLARE's: one DXO of weights, so that FLARE's own filters (privacy) can work on them."""

from __future__ import annotations

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from .. import wire

TASK = "fedkdtavi"
_HEADER, _CODE = "fedkdtavi_header", "fedkdtavi_code"


def pack(header: str, arrays: wire.Arrays) -> Shareable:
    """One message."""
    return DXO(DataKind.WEIGHTS, arrays, {_HEADER: header}).to_shareable()


def unpack(shareable: Shareable) -> tuple[str, wire.Arrays]:
    """Header and arrays. Raises WireError when it holds something else."""
    try:
        dxo = from_shareable(shareable)
    except (ValueError, TypeError, KeyError) as error:
        raise wire.WireError("A message holds no weights of ours.") from error
    if dxo.data_kind != DataKind.WEIGHTS or not isinstance(dxo.get_meta_prop(_HEADER), str):
        raise wire.WireError("A message holds no weights of ours.")
    return dxo.get_meta_prop(_HEADER), dict(dxo.data)


def failure(code: wire.Code) -> Shareable:
    """A site's answer when it could not: nothing but a code."""
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(_CODE, code.value)
    return reply


def code_in(reply: Shareable) -> str | None:
    """The code of a failure; None for an answer."""
    if reply.get_return_code(ReturnCode.OK) == ReturnCode.OK:
        return None
    return str(reply.get_header(_CODE, reply.get_return_code()))
