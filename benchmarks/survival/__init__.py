"""What a run outlives: kills, hostile files."""
