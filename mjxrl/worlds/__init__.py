"""Batches of worlds that take actions and give observations as torch tensors."""
