"""Readers of logs, metrics, configuration and environment: one artifact kind a file."""
