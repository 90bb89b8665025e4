"""State and survey tables; the only SQLAlchemy code."""
