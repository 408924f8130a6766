"""How fast, beside how it is usually done: stages, whole runs, memory."""
