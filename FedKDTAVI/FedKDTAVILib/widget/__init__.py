"""The module's panel: one file for each of its sections."""
