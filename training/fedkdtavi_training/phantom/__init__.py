"""Virtual hospitals: parametric cardiac CTs with exact landmarks, to learn from where no hospital data is at hand.

Everything learned on them is learned on synthetic images; every number from them has to say so.
"""
