"""The federation between hospitals: the project, enrolment, server and sites, and what people see of it.

``nvflare`` is imported in :mod:`.flare` alone.
"""
