"""Avro schemas of the alert packets, as versioned data files."""
