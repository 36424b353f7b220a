"""Readers of checkpoints: one container format a file; ``health`` is the numeric kernel."""
