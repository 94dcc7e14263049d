"""What all sections of the module's panel have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedkdtavi_core.errors import FedKDTAVIError

from .workspace import Workspace


class Panel:
    """One section of the panel: shows the workspace, and passes on what a person does to it.

    Args:
        ui: all named widgets of ``FedKDTAVI.ui``.
        workspace: the case that is being worked on, shared by all sections.
    """

    def __init__(self, ui, workspace: Workspace) -> None:
        self.ui = ui
        self.workspace = workspace
        self.setup()

    def setup(self) -> None:
        """Connect the widgets; called once."""

    def refresh(self) -> None:
        """Show the workspace as it is now."""

    def enter(self) -> None:
        """The module is shown."""

    def exit(self) -> None:
        """Another module is shown."""

    def sceneStartClose(self) -> None:
        """The scene's nodes are about to go."""

    def cleanup(self) -> None:
        """The panel is about to go."""

    def allow(self, widget, reason: str, does: str) -> None:
        """Enable ``widget`` unless there is a ``reason`` against it; its tooltip says the reason, or what it does."""
        widget.enabled = not reason
        widget.toolTip = reason or does

    @contextmanager
    def sayingProblems(self, *, keep: bool = False) -> Iterator[None]:
        """What goes wrong inside is shown on top of the panel as one sentence.

        Args:
            keep: a sentence that stands there already stays until then; default: it goes.
        """
        try:
            if not keep:
                self.workspace.say("")
            yield
        except (FedKDTAVIError, OSError) as error:
            self.workspace.say(str(error))
