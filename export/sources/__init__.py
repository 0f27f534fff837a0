"""Checkpoints, one file a kind."""
