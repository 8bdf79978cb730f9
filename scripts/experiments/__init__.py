"""What run_all.sh runs. Standard library only. Read in this order: profiles, stages, base, registry, execute, run.

An experiment joins by one module with a function `stages(context) -> list[Stage]` and one line in `registry`.
"""
