"""The sample CT that comes with the extension, in Slicer's Sample Data module and behind a button of the panel."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from fedkdtavi_core.errors import InputError

from .resources import resourcePath

CATEGORY = "FedKDTAVI"
SAMPLE = "FedKDTAVIPhantom"
FILE = "phantom-tavi.nii.gz"
NODE_NAME = "Synthetic CT"


def sampleVolumePath() -> Path:
    """Where the sample CT lies: beside the module when installed, otherwise in the repository.

    Raises:
        InputError: it is in neither place.
    """
    module = Path(__file__).resolve().parents[1]
    places = [folder / "Resources" / "SampleData" / FILE for folder in (module, module.parent)]
    for place in places:
        if place.is_file():
            return place
    folders = " and ".join(str(place.parent) for place in places)
    raise InputError(
        _("The sample CT {file} is not in {folders}; install FedKDTAVI again.").format(file=FILE, folders=folders)
    )


def loadSampleVolume(source=None):
    """Load the sample CT into the scene and return its node.

    Args:
        source: what the Sample Data module hands over; not needed, nothing is downloaded.
    """
    return slicer.util.loadVolume(str(sampleVolumePath()), {"name": NODE_NAME})


def registerSampleData() -> None:
    """Offer the sample CT in the Sample Data module; called when Slicer has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        thumbnailFileName=str(resourcePath("Icons", "FedKDTAVIPhantom.png")),
        # One of each: Slicer counts them. Nothing is downloaded, the loader below takes the file from the extension.
        uris=FILE,
        fileNames=FILE,
        nodeNames=NODE_NAME,
        customDownloader=loadSampleVolume,
    )
