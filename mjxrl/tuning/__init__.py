"""Looking for settings: what may be chosen, and studies of trials against the clock."""
