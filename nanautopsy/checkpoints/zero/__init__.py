"""DeepSpeed's ZeRO files: from flat partitions to parameters."""
