"""The interpreter of pickle opcodes behind ``pickle_data``, which executes nothing."""
