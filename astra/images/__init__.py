"""Pure functions on images: arrays in, arrays out; no files, no clocks, no configuration."""
