"""Rounds of federated training, free of any engine: who trains what, how it is averaged, what is refused.

A round: the server hands its weights to the sites (:mod:`.workflow`), each site trains on its own cases
(:mod:`.local_train`), the answers are checked (:mod:`.refusals`) and averaged per head (:mod:`.aggregate`). How a task
reaches a site is a :class:`~.messages.Driver`'s affair; :mod:`.plain` does it in one process.
"""
