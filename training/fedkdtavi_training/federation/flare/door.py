"""The door: who comes with another version, or under another's name, is not let in, and the server says so.

A site has a door of its own: of a job it builds our executor, and refuses whatever else the job names.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.fl_exception import NotAuthenticated, UnsafeComponentError
from nvflare.fuel.f3.cellnet.defs import CellChannel, CellChannelTopic

from fedkdtavi_core.errors import FedKDTAVIError

from .. import connection
from ..kits import EXECUTOR
from ..progress import Door

TOLD = "fedkdtavi_versions"
"""What a site says of itself when it registers: a dict of ``version`` and ``schema_version``."""
NOT_THEIRS = "who came under this name has not shown its certificate and key"
_BEFORE = "fedkdtavi_token_before"
_ADMIN = "admin"  # nvflare's client type of the coordinator's console
_SEEN_EVERY_S = 20.0
_EVENTS = (
    EventType.CLIENT_REGISTER_RECEIVED,
    EventType.CLIENT_REGISTER_PROCESSED,
    EventType.CLIENT_HEARTBEAT_PROCESSED,
)


class SiteDoor(FLComponent):
    """Tells the server which versions are installed here, and lets a job build nothing but our executor.

    It notes the server's answers, too, so that the site's people see whether it is connected.

    FLARE's own list of classes is not asked for a job whose description, which the server writes, says that it brings
    code. This one always is.

    Args:
        version, schema_version: of what is installed here.
        folder: the site's.
    """

    def __init__(self, version: str, schema_version: int, folder: str) -> None:
        super().__init__()
        self.version, self.schema_version, self.folder = version, schema_version, folder

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Just before and after the site registers, and before anything of a job is built.

        Raises:
            UnsafeComponentError: it is not our executor.
        """
        if event_type == EventType.BEFORE_CLIENT_REGISTER:
            told = {"version": self.version, "schema_version": self.schema_version}
            fl_ctx.set_prop(TOLD, told, private=False, sticky=False)
        elif event_type == EventType.AFTER_CLIENT_REGISTER and fl_ctx.get_prop(FLContextKey.CLIENT_TOKEN):
            # The engine's own event after a sign of life comes whether it was answered or not.
            cell = fl_ctx.get_engine().get_cell()
            cell.add_incoming_reply_filter(CellChannel.SERVER_MAIN, CellChannelTopic.HEART_BEAT, self._answered)
            self._answered()
        elif event_type == EventType.BEFORE_BUILD_COMPONENT:
            asked = fl_ctx.get_prop(FLContextKey.COMPONENT_CONFIG)
            if not isinstance(asked, dict) or asked.get("path") != EXECUTOR or asked.get("args"):
                named = str(asked.get("path") or asked.get("name")) if isinstance(asked, dict) else "something"
                given = " with arguments" if isinstance(asked, dict) and asked.get("args") else ""
                raise UnsafeComponentError(f"The job asks for {named[:120]}{given}; this site runs {EXECUTOR} alone.")

    def _answered(self, answer: Any = None) -> None:
        """The server has answered; a disk that is full keeps no site out. A filter gives nothing back."""
        try:
            connection.note(Path(self.folder))
        except FedKDTAVIError as error:
            self.logger.error(str(error))


class ServerDoor(FLComponent):
    """Lets in the project's sites that have its versions, and notes who came and who was refused.

    Args:
        version, schema_version: what a site must have.
        sites: the project's.
        out: the server's folder for results; it gets ``door.json``.
    """

    def __init__(self, version: str, schema_version: int, sites: list[str], out: str) -> None:
        super().__init__()
        self.version, self.schema_version, self.sites, self.out = version, schema_version, sites, out
        self._door = Door(Path(out))
        self._noted: dict[str, float] = {}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """When a site registers, and with each sign of life.

        Raises:
            NotAuthenticated: the site is not let in.
        """
        if event_type not in _EVENTS:
            return
        peer = fl_ctx.get_peer_context()
        if peer is None or fl_ctx.get_prop(FLContextKey.CLIENT_TYPE) == _ADMIN:
            return
        site = str(peer.get_identity_name())
        if event_type == EventType.CLIENT_HEARTBEAT_PROCESSED:
            self._seen(site)
            return
        if event_type == EventType.CLIENT_REGISTER_PROCESSED:
            self._processed(site, fl_ctx)
            return
        reason = refusal(site, peer.get_prop(TOLD), self.version, self.schema_version, self.sites)
        if reason is not None:
            self._note(lambda: self._door.refused(site if site in self.sites else "unknown", reason))
            raise NotAuthenticated(reason)
        # It has only said its name so far; FLARE looks at its certificate next, and gives whom it lets in a new token.
        fl_ctx.set_prop(_BEFORE, _token(site, fl_ctx), private=True, sticky=False)

    def _processed(self, site: str, fl_ctx: FLContext) -> None:
        """FLARE has looked: was it let in?"""
        if _token(site, fl_ctx) not in (None, fl_ctx.get_prop(_BEFORE)):
            self._note(lambda: self._door.came(site, registered=True))
            return
        reason = fl_ctx.get_prop(FLContextKey.UNAUTHENTICATED) or NOT_THEIRS
        self.logger.error(f"{site} is not let in: {reason}")
        self._note(lambda: self._door.refused(site, reason))
        fl_ctx.set_prop(FLContextKey.UNAUTHENTICATED, reason, sticky=False)  # or it would go on asking for minutes

    def _seen(self, site: str) -> None:
        if site in self.sites and time.monotonic() - self._noted.get(site, -_SEEN_EVERY_S) >= _SEEN_EVERY_S:
            self._noted[site] = time.monotonic()
            self._note(lambda: self._door.came(site))

    def _note(self, write: Any) -> None:
        """A disk that is full keeps nobody out, and lets nobody in."""
        try:
            write()
        except FedKDTAVIError as error:
            self.logger.error(str(error))


def _token(site: str, fl_ctx: FLContext) -> str | None:
    """The token of the site of that name that is let in now."""
    return next((one.token for one in fl_ctx.get_engine().get_clients() if one.name == site), None)


def refusal(site: str, told: Any, version: str, schema_version: int, sites: list[str]) -> str | None:
    """Why a site that says ``told`` of itself is not let in, or None."""
    if site not in sites:
        return "it is no site of the project"
    if not isinstance(told, dict):
        return f"{site} does not say which fedkdtavi it runs, the project runs {version}; install it there"
    theirs = str(told.get("version"))[:40]
    if theirs != version:
        return f"{site} runs fedkdtavi {theirs}, the project runs {version}; install the same on both"
    if told.get("schema_version") != schema_version:
        return (
            f"{site} has label schema {str(told.get('schema_version'))[:10]}, the project has {schema_version}; "
            "install the same fedkdtavi on both"
        )
    return None
