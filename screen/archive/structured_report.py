"""A case as a DICOM structured report: TID 1500, Measurement Report, in a Comprehensive SR.

Each measurement group has a region on its film: a viewer that meets one without shows none of them.
"""

from collections.abc import Mapping, Sequence

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset
from pydicom.sr.coding import Code

from screen.archive.case_results import (
    NOTICE,
    CaseResult,
    outline,
    parameters,
    place_shown,
)
from screen.archive.objects import MANUFACTURER, Stamp, finished
from screen.archive.uids import uid_of
from screen.decide import Decision, Score, Verdict
from screen.ledger import DicomObject
from screen.model.card import OWN_SCHEME, finding_code
from screen.readers.eligibility import OWN_EQUIPMENT

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"
"""Comprehensive SR Storage."""
_SERIES_NUMBER = 9501

_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
_LIBRARY = Code("111028", "DCM", "Image Library")
_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
_ENGLISH = Code("en-US", "RFC5646", "English (United States)")
_PROCEDURE = Code("43468-8", "LN", "XR unspecified body region")
_LUNG = Code("39607008", "SCT", "Lung")
_AI = Code("123110", "DCM", "Artificial Intelligence")
_CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
_PERCENT = Code("%", "UCUM", "percent")
_FLAGGED = Code("flagged", OWN_SCHEME, "Flagged at the operating point")
_YES, _NO = Code("373066001", "SCT", "Yes"), Code("373067005", "SCT", "No")
_COMMENT = Code("121106", "DCM", "Comment")
_SOURCE = Code("260753009", "SCT", "Source")


def case_report(case: CaseResult, headers: Mapping[str, Dataset], decision: Decision, stamp: Stamp) -> bytes:
    """The file of one case's report. headers: of each film that it tells of, by SOP Instance UID."""
    films = [headers[verdict.row.identity.sop_instance_uid] for verdict in case.films]
    root = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(decision)),
        procedure_reported=_PROCEDURE,
        imaging_measurements=[_group(case, *each, headers, decision) for each in case.groups],
        title=_REPORT,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept.from_code(_ENGLISH)
        ),
    )[0]
    # highdicom's own library wants tags that plain films lack.
    root.ContentSequence.insert(len(root.ContentSequence) - 1, _library(films))
    root.ContentSequence.append(_comment(" ".join([*case.words(), NOTICE])))
    ds = sr.ComprehensiveSR(
        evidence=films,
        content=root,
        series_instance_uid=stamp.of.series_instance_uid,
        series_number=_SERIES_NUMBER,
        series_description=f"{OWN_EQUIPMENT} result (research use only)",
        sop_instance_uid=stamp.of.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_verified=False,
        is_final=False,
        previous_versions=None if stamp.predecessor is None else [_document(stamp.predecessor)],
        coding_schemes=[
            CodingSchemeIdentificationItem(OWN_SCHEME, OWN_EQUIPMENT, responsible_organization=MANUFACTURER)
        ],
    )
    return finished(ds, films[0], stamp)


def _observer(decision: Decision) -> sr.ObserverContext:
    card = decision.card
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", card.weights_digest),
        name=OWN_EQUIPMENT,
        manufacturer_name=MANUFACTURER,
        model_name=f"{card.name} {card.version}",
    )
    return sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"), observer_identifying_attributes=device
    )


def _library(films: Sequence[Dataset]) -> sr.ContainerContentItem:
    """All films that were looked at, flagged or not (PS3.16 TID 1600)."""
    contains = sr.RelationshipTypeValues.CONTAINS
    library, group = (
        sr.ContainerContentItem(name=name, relationship_type=contains) for name in (_LIBRARY, _LIBRARY_GROUP)
    )
    images = [
        sr.ImageContentItem(
            name=_SOURCE,
            referenced_sop_class_uid=film.SOPClassUID,
            referenced_sop_instance_uid=film.SOPInstanceUID,
            relationship_type=contains,
        )
        for film in films
    ]
    group.ContentSequence = sr.ContentSequence(images)
    library.ContentSequence = sr.ContentSequence([group])
    return library


def _group(
    case: CaseResult, verdict: Verdict, score: Score, headers: Mapping[str, Dataset], decision: Decision
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """What is said of one finding on one film (PS3.16 TID 1410)."""
    row, card, finding = verdict.row, decision.card, decision.card.finding(score.finding)
    film = headers[row.identity.sop_instance_uid]
    code = Code(*finding_code(finding))
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uid_of("finding", row.identity.sop_instance_uid, card.weights_digest, finding.name),
            identifier=finding.name,
        ),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=outline(row, place_shown(verdict, score, decision), card.heatmap_grid),
            source_image=sr.SourceImageForRegion(film.SOPClassUID, film.SOPInstanceUID),
        ),
        finding_type=code,
        finding_sites=[sr.FindingSite(anatomic_location=_LUNG)],
        algorithm_id=sr.AlgorithmIdentification(
            name=card.name,
            version=card.version,
            manufacturer=MANUFACTURER,
            family=_AI,
            parameters=list(parameters(score, decision)),
        ),
        measurements=[
            sr.Measurement(name=_CERTAINTY, value=round(100 * score.probability, 4), unit=_PERCENT)
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=_FLAGGED, value=_YES if score.flagged else _NO)
        ],
    )
    if comment := " ".join(case.words_of(verdict, score, decision)):
        group[0].ContentSequence.append(_comment(comment))
    return group


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(name=_COMMENT, value=text, relationship_type=sr.RelationshipTypeValues.CONTAINS)


def _document(report: DicomObject) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SR_CLASS, report.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = report.study_instance_uid, report.series_instance_uid
    return ds
