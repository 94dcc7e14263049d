"""NVIDIA FLARE as a second driver of the same rounds; the only place that imports ``nvflare``."""
