"""The next round: a bundle's own weights, what reviewers have confirmed since, a new bundle that names its parent."""
