"""Measurements that the documentation rests on. Needs a checkout; nothing of it is installed."""

import os

# As in `screen`, for who imports a module of this package before it. Not by importing `screen`: under
# `python -m benchmarks` the current folder still comes first on the path here.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
