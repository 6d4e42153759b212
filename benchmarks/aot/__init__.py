"""Programs for accelerators that are not here, compiled and read."""
