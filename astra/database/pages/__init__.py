"""Questions that pages ask: read-only, set-based, and page by page where there may be many answers."""
