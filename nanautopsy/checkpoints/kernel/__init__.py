"""Counting one tensor's elements: plans, buffers, passes over bits, and where the bad ones lie."""
