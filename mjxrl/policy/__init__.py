"""What outlives a run: the policy as files, its score, its export."""
