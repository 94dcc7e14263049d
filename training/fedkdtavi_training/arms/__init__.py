"""The comparison arms: each an experiment with a seed, ending in one small CSV of per-case results, then paired.

An arm is trained in the rounds, exported to a bundle with the same coarse network as all others, and evaluated the
product's way on the same virtual hospitals. What is committed are the CSVs alone; the rest can be made again.
"""
