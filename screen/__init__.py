"""Batch screening of chest radiographs: folders of DICOM or pictures in, ranked reports out."""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheel looks a host up and leaves a device id in the user's cache, unless this stands in the
# environment before its first import. Everything of ours imports this package first, and children inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
