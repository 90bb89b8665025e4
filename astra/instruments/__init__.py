"""One file per camera: header to exposure record, amplifiers, detectors, identifiers."""
