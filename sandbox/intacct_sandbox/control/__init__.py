"""What a test controls: the clock, the faults, the limits, every undocumented behaviour."""
