"""``object.connect("signal(type)", function)`` as PythonQt has it; a signal that does not exist raises."""

from __future__ import annotations

from names import NAMES
from names.headers import normalized
from PySide6.QtCore import SIGNAL, SLOT, QObject

from .standin import StandIn, argumentTypes

_connect, _disconnect = QObject.connect, QObject.disconnect


def connectSignal(sender: QObject, signal, *receiver) -> bool:
    """Connect a signal, given by its signature, to a function, or to an object and the signature of its slot."""
    if isinstance(signal, QObject):  # PySide6's own way, which it goes itself inside of QTimer.singleShot
        return bool(_connect(signal, *receiver))
    if not isinstance(signal, str):
        return bool(_connect(sender, signal, *receiver))
    bound = boundSignal(sender, signal)
    if bound is not None:
        target = receiver[0] if len(receiver) == 1 else getattr(receiver[0], receiver[1].split("(")[0])
        bound.connect(target)
        return True
    if len(receiver) == 2:
        return bool(_connect(sender, SIGNAL(signal), receiver[0], SLOT(receiver[1])))
    return bool(_connect(sender, SIGNAL(signal), *receiver))


def disconnectSignal(sender: QObject, signal=None, *receiver) -> bool:
    """Undo :func:`connectSignal`; without a signal, all connections of the sender."""
    if not isinstance(signal, str):
        return bool(_disconnect(sender, *([] if signal is None else [signal]), *receiver))
    bound = boundSignal(sender, signal)
    if bound is not None:
        bound.disconnect(*receiver)
        return True
    return bool(_disconnect(sender, SIGNAL(signal), *receiver))


def boundSignal(sender: QObject, signal: str):
    """The signal of a stand-in, or None when the sender's Qt class has it.

    Raises:
        ValueError: there is no such signal, or not with these arguments.
    """
    wanted = normalized(signal)
    if isinstance(sender, StandIn):
        for cls in type(sender).__mro__:
            if wanted in NAMES.signals(cls.__name__):
                name = wanted.split("(")[0]
                return getattr(sender, name)[argumentTypes(wanted)]
    if sender.metaObject().indexOfSignal(wanted) >= 0:
        return None
    raise ValueError(f"{sender.className()} has no signal {signal}.")
