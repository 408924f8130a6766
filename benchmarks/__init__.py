"""Measurements that the documentation rests on. Needs a checkout; nothing of it is installed."""
