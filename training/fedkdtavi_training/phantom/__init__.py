"""Virtual hospitals: parametric cardiac CTs with exact landmarks, to learn from where no hospital data is at hand.

Everything learned on them is learned on synthetic images; every number from them has to say so.
"""

# Raised when the same seed becomes another patient or another label: folders of an older phantom are not gone on with.
PHANTOM_VERSION = 2  # 2: pockets have a floor, and hinge points lie in it (bundle 0.9)
