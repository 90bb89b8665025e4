"""Alert packets: schema, cutouts, wire format and sinks; no database, no engine."""
