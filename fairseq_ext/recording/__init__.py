"""Recording: what a run writes down about its embedding tables. ``recorder`` is the hook; the other modules are its parts."""
