"""The loop, and what surrounds it: set-up, memory, stopping, resuming."""
