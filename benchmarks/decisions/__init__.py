"""Settings that were fitted to something, and the commands that fit them."""
