"""Orbax's stores: zarr arrays, plain or in an OCDBT database."""
