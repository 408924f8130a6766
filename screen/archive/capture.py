"""A flagged film's picture as a Secondary Capture: film and heat map side by side, the notice beneath."""

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import JPEGBaseline8Bit

from screen.archive.objects import MANUFACTURER, Stamp, finished
from screen.decide import Decision, Verdict
from screen.readers.eligibility import OWN_EQUIPMENT
from screen.report.pictures import sheet_of

SC_CLASS = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage."""
_SERIES_NUMBER = 9502
_LOSSY_METHOD = "ISO_10918_1"


def film_capture(
    verdict: Verdict, square: NDArray[np.uint8], header: Dataset, decision: Decision, stamp: Stamp
) -> bytes:
    """The file of one film's capture. square: uint8 [S, S]. header: the film's."""
    picture = sheet_of(verdict, decision, square)
    ds = SCImage(
        pixel_array=np.ascontiguousarray(picture[..., ::-1]),
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # A sheet of two pictures and a line of text has none: emptied below.
        patient_orientation=("L", "F"),
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=stamp.of.series_instance_uid,
        series_number=_SERIES_NUMBER,
        series_description=f"{OWN_EQUIPMENT} heat map (research use only)",
        sop_instance_uid=stamp.of.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=JPEGBaseline8Bit,
    )
    ds.PatientOrientation = []
    ds.ConversionType = "WSD"
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = stamp.date, stamp.time
    # Modality OT: it must not hang as a film. A capture needs a body part all the same (PS3.3 C.7.3.1).
    ds.BodyPartExamined = "CHEST"
    ds.BurnedInAnnotation = "YES"
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = f"{picture.nbytes / len(ds.PixelData):.2f}"
    ds.LossyImageCompressionMethod = _LOSSY_METHOD
    ds.DerivationDescription = (
        f"Heat map for {verdict.top.finding} over the film; colour shows what raised the score"
    )
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    ds.SourceImageSequence = [source]
    return finished(ds, header, stamp)
