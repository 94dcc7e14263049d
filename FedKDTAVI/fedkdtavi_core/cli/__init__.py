"""The command line ``fedkdtavi``. Nothing heavy is imported here or at the top of its files: ``--help`` is instant."""
