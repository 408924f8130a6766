"""The hospital's archive, spoken to in DICOMweb: films out of it, results into it.

The one part of `screen` that opens a connection. It decodes no pixel, and no part below knows of it.
"""
