"""The hospital's archive: results as DICOM objects; films out of it and results into it, by DICOMweb.

The one part of `screen` that opens a connection. It decodes no pixel, and no part below knows of it.
"""
