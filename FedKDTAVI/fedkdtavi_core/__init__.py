"""The numeric core of FedKDTAVI: from a cardiac CT to TAVI landmarks, calcium and measurements.

Arrays are in NIfTI order (i, j, k) with a 4x4 affine to RAS millimetres, and hold Hounsfield units as they are.
The core needs neither Slicer nor torch, and imports nothing else of this project. Heavy imports are made where they
are used, so that ``import fedkdtavi_core`` stays cheap.
"""

__version__ = "0.1.0"
