"""The Luigi tasks: parameters, requirements, outputs and a short run."""
