"""The network, what it learns by, and what is computed from its features."""
