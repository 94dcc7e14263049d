"""Label files in 3D Slicer's own formats, tables, and the folder that holds them.

Each file is written whole by its module (``markups``, ``segmentation``, ``tables``, ``record``); ``case`` puts them
into a folder that appears complete or not at all.
"""
