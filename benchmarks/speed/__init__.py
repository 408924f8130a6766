"""How fast, beside how it is usually done: stages and whole runs."""
