"""Devices as data: the schema, the catalog of TOML files, and the rules a device sets."""
