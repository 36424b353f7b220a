"""torch.distributed.checkpoint: metadata, names, chunks."""
