"""Pure functions on the sphere: regions, matching, light-curve statistics, identifiers."""
