"""A seeded sky and camera, for the demonstration and the tests."""
