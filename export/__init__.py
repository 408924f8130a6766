"""From a trained checkpoint to the one file that screening loads."""

import os

# As in `screen`, for who imports a module of this package before it. Not by importing `screen`: under
# `python -m export` the current folder still comes first on the path here.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
