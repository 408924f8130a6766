"""Batch screening of chest radiographs: folders of DICOM or pictures in, ranked reports out."""

__version__ = "0.1.0"
