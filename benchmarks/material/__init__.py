"""Films, pictures and broken files to measure with."""
