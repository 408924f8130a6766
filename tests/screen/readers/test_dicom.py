"""DICOM films: the same stored values give the same square, however a file stores them."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from screen.codes import Reason, Status, Warn
from screen.film import Film, Unscreened
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers import Limits
from tests.phantoms import LOSSLESS_SYNTAXES, dicom_file, encoded, film, film_values, read_from_bytes

SPEC = PreprocessSpec(size=64)
WINDOW = {"WindowCenter": 2100.5, "WindowWidth": 2900}
MIRRORED_WINDOW = {"WindowCenter": 4096 - 2100.5, "WindowWidth": 2900}
VALUES = film_values()


@pytest.fixture
def read_bytes(tmp_path: Path) -> Callable[..., Film | Unscreened]:
    """Read a file that holds these bytes."""

    def read_them(data: bytes, limits: Limits | None = None) -> Film | Unscreened:
        return read_from_bytes(tmp_path, data, limits)

    return read_them


def square(result: Film | Unscreened) -> NDArray[np.uint8]:
    return square_from_pixels(film(result).pixels, SPEC).values


def reason(result: Film | Unscreened) -> Reason:
    assert isinstance(result, Unscreened), result
    return result.reason


def grey(result: Film | Unscreened) -> NDArray[np.uint16]:
    px = film(result).pixels
    return px.lookup[px.values]


@pytest.mark.parametrize("name", LOSSLESS_SYNTAXES)
@pytest.mark.parametrize("storage", ["plain", "wider", "signed", "mirrored"])
def test_the_same_film_gives_the_same_square(read_bytes: Any, name: str, storage: str) -> None:
    expected = square(read_bytes(dicom_file(VALUES, **WINDOW)))
    syntax = LOSSLESS_SYNTAXES[name]
    if storage == "plain":
        data = dicom_file(VALUES, syntax, **WINDOW)
    elif storage == "wider":
        data = dicom_file(VALUES, syntax, bits_stored=16, **WINDOW)
    elif storage == "signed":
        signed = (VALUES.astype(np.int32) - 2048).astype(np.int16)
        data = dicom_file(signed, syntax, bits_stored=12, RescaleSlope=1, RescaleIntercept=2048, **WINDOW)
    else:
        data = dicom_file(4095 - VALUES, syntax, PhotometricInterpretation="MONOCHROME1", **MIRRORED_WINDOW)
    np.testing.assert_array_equal(square(read_bytes(data)), expected)
    assert expected.std() > 20


@pytest.mark.parametrize("name", LOSSLESS_SYNTAXES)
def test_eight_bits_in_every_syntax(read_bytes: Any, name: str) -> None:
    values = film_values(bits=8).astype(np.uint8)
    result = film(read_bytes(dicom_file(values, LOSSLESS_SYNTAXES[name], bits_stored=8)))
    np.testing.assert_array_equal(result.pixels.values, values)
    np.testing.assert_array_equal(result.pixels.lookup, np.arange(256) * 257)
    assert result.warnings == ()


def test_wider_allocation_of_eight_bits(read_bytes: Any) -> None:
    values = film_values(bits=8)
    window = {"WindowCenter": 128, "WindowWidth": 200}
    narrow = read_bytes(dicom_file(values.astype(np.uint8), bits_stored=8, **window))
    np.testing.assert_array_equal(
        square(read_bytes(dicom_file(values, bits_stored=8, **window))), square(narrow)
    )
    np.testing.assert_array_equal(
        square(read_bytes(dicom_file(values, bits_stored=16, **window))), square(narrow)
    )


def test_bones_are_bright(read_bytes: Any) -> None:
    lung, spine = np.s_[60, 28], np.s_[60, 50]
    for photometric, values in (("MONOCHROME2", VALUES), ("MONOCHROME1", 4095 - VALUES)):
        shown = grey(read_bytes(dicom_file(values, PhotometricInterpretation=photometric)))
        assert int(shown[spine]) > int(shown[lung]) + 20000, photometric


def test_the_polarity_tag_is_honoured(read_bytes: Any) -> None:
    shown = grey(read_bytes(dicom_file(VALUES, **WINDOW)))
    inverted = grey(read_bytes(dicom_file(VALUES, PhotometricInterpretation="MONOCHROME1", **WINDOW)))
    np.testing.assert_allclose(inverted, 65535.0 - shown, atol=1)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_polarity_is_inverted_once(read_bytes: Any, photometric: str, shape: str, inverted: bool) -> None:
    plain = grey(read_bytes(dicom_file(VALUES, **WINDOW)))
    shown = grey(
        read_bytes(
            dicom_file(VALUES, PhotometricInterpretation=photometric, PresentationLUTShape=shape, **WINDOW)
        )
    )
    np.testing.assert_allclose(shown, 65535.0 - plain if inverted else plain, atol=1)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_junk_above_the_stored_bits_is_masked(read_bytes: Any, syntax: str) -> None:
    overlay = VALUES | np.uint16(0x8000) * (np.indices(VALUES.shape).sum(0) % 2).astype(np.uint16)
    result = read_bytes(dicom_file(overlay, syntax, **WINDOW))
    np.testing.assert_array_equal(film(result).pixels.values, VALUES)


def test_high_bit_above_the_stored_bits(read_bytes: Any) -> None:
    result = read_bytes(dicom_file(VALUES << 4, HighBit=15, **WINDOW))
    np.testing.assert_array_equal(film(result).pixels.values, VALUES)


def test_a_codec_that_needs_more_bits_than_the_header_says(read_bytes: Any) -> None:
    result = read_bytes(dicom_file(VALUES, LOSSLESS_SYNTAXES["JPEG-LS"], bits_stored=10, **WINDOW))
    np.testing.assert_array_equal(square(result), square(read_bytes(dicom_file(VALUES, **WINDOW))))


def test_jpeg_baseline(read_bytes: Any) -> None:
    import imagecodecs

    values = film_values(bits=8).astype(np.uint8)
    jpeg = imagecodecs.jpeg8_encode(values, level=95)
    result = film(read_bytes(dicom_file(values, JPEGBaseline8Bit, bits_stored=8, frame=jpeg)))
    assert np.abs(result.pixels.values.astype(int) - values).max() < 30
    cut = read_bytes(dicom_file(values, JPEGBaseline8Bit, bits_stored=8, frame=jpeg[: len(jpeg) // 2]))
    assert reason(cut) is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize(
    "name", [n for n in LOSSLESS_SYNTAXES if n not in ("implicit", "explicit", "big endian")]
)
def test_a_film_that_is_cut_short_fails(read_bytes: Any, name: str) -> None:
    data = dicom_file(VALUES, LOSSLESS_SYNTAXES[name], **WINDOW)
    result = read_bytes(data[: len(data) * 2 // 3])
    assert isinstance(result, Unscreened)
    assert result.status is Status.FAILED
    assert result.identity.patient_id == "PHANTOM"
    assert result.declared_chest


def test_less_than_a_row_may_be_missing(read_bytes: Any) -> None:
    data = dicom_file(VALUES, **WINDOW)
    whole = read_bytes(data)
    short = film(read_bytes(data[:-6]))
    assert short.warnings == (Warn.PIXELS_SHORT,)
    assert np.abs(square(short).astype(int) - square(whole)).max() <= 16
    assert reason(read_bytes(data[:-200])) is Reason.CORRUPT_PIXELS
    np.testing.assert_array_equal(square(read_bytes(data + bytes(64))), square(whole))


def test_several_frames_the_first_is_read(read_bytes: Any) -> None:
    frame = VALUES.tobytes() + (4095 - VALUES).tobytes()
    native = film(read_bytes(dicom_file(VALUES, frame=frame, NumberOfFrames=2, **WINDOW)))
    assert native.warnings == (Warn.SEVERAL_FRAMES,)
    np.testing.assert_array_equal(native.pixels.values, VALUES)


def test_several_encapsulated_frames(read_bytes: Any) -> None:
    from pydicom.encaps import encapsulate

    frames = [encoded(v, RLELossless) for v in (VALUES, 4095 - VALUES)]
    for has_bot in (True, False):
        ds = io.BytesIO(dicom_file(VALUES, RLELossless, NumberOfFrames=2, **WINDOW))
        whole = ds.getvalue()
        start = whole.rindex(b"\xe0\x7f\x10\x00OB") + 12
        result = film(
            read_bytes(whole[:start] + encapsulate(frames, has_bot=has_bot) + b"\xfe\xff\xdd\xe0" + bytes(4))
        )
        np.testing.assert_array_equal(result.pixels.values, VALUES)


def test_without_preamble(read_bytes: Any) -> None:
    result = film(read_bytes(dicom_file(VALUES, preamble=False, **WINDOW)))
    assert result.warnings == (Warn.NO_PREAMBLE,)
    np.testing.assert_array_equal(result.pixels.values, VALUES)


@pytest.mark.parametrize(
    ("expected", "tags"),
    [
        (Reason.NOT_A_RADIOGRAPH, {"Modality": "CT"}),
        (Reason.NOT_A_RADIOGRAPH, {"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}),
        (Reason.NOT_CHEST, {"BodyPartExamined": "HIP"}),
        (Reason.NOT_CHEST, {"BodyPartExamined": "TSPINE"}),
        (Reason.NOT_CHEST, {"BodyPartExamined": "THORACIC SPINE"}),
        (Reason.LATERAL_VIEW, {"ViewPosition": "LL"}),
        (Reason.LATERAL_VIEW, {"ViewPosition": "LATERAL"}),
        (Reason.LATERAL_VIEW, {"ViewPosition": "RAO"}),
        (Reason.FOR_PROCESSING, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}),
        (Reason.FOR_PROCESSING, {"PresentationIntentType": "FOR PROCESSING"}),
        (Reason.DERIVED, {"Modality": "OT", "BodyPartExamined": None}),
        (Reason.DERIVED, {"Manufacturer": "cxr-screen"}),
        (Reason.DERIVED, {"SoftwareVersions": ["1.0", "cxr-screen 1.0"]}),
        (Reason.DICOMDIR, {"SOPClassUID": "1.2.840.10008.1.3.10"}),
        (Reason.NOT_CHEST, {"BodyPartExamined": None, "region": ("69536005", "SCT")}),
        (Reason.LATERAL_VIEW, {"ViewPosition": None, "view": ("R-10236", "SRT")}),
    ],
)
def test_what_the_tags_rule_out_is_never_decoded(
    read_bytes: Any, expected: Reason, tags: dict[str, Any]
) -> None:
    tags = dict(tags)
    for name, keyword in (("region", "AnatomicRegionSequence"), ("view", "ViewCodeSequence")):
        if name in tags:
            tags[keyword] = [_code(*tags.pop(name))]
    result = read_bytes(dicom_file(VALUES, LOSSLESS_SYNTAXES["JPEG-LS"], frame=b"no code stream", **tags))
    assert reason(result) is expected
    assert result.status is Status.SKIPPED


def _code(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "meaning"
    return item


@pytest.mark.parametrize(
    ("declared", "tags"),
    [
        (True, {}),
        (True, {"BodyPartExamined": "RIBCAGE"}),
        (True, {"BodyPartExamined": "PORT CHEST"}),
        (True, {"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        (True, {"Modality": None}),
        (True, {"BodyPartExamined": None, "AnatomicRegionSequence": [_code("51185008", "SCT")]}),
        (True, {"ViewPosition": "LLD"}),
        (True, {"ImageType": ["DERIVED", "PRIMARY"]}),
        (False, {"BodyPartExamined": None}),
        (False, {"BodyPartExamined": "UNKNOWN"}),
        (True, {"SoftwareVersions": "CXR-SCREENING 2"}),
        (False, {"Modality": "OT"}),
        (False, {"Modality": None, "BodyPartExamined": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
    ],
)
def test_what_the_tags_leave_open_is_decoded(read_bytes: Any, declared: bool, tags: dict[str, Any]) -> None:
    assert film(read_bytes(dicom_file(VALUES, **tags))).declared_chest is declared


@pytest.mark.parametrize(
    ("expected", "tags"),
    [
        (Reason.CORRUPT_HEADER, {"BitsAllocated": None}),
        (Reason.CORRUPT_HEADER, {"Rows": None}),
        (Reason.CORRUPT_HEADER, {"BitsStored": 17}),
        (Reason.UNSUPPORTED_PIXELS, {"BitsAllocated": 32}),
        (Reason.CORRUPT_PIXELS, {"Rows": 121}),
        (Reason.TOO_SMALL, {"Rows": 20}),
        (Reason.TOO_LARGE, {"Rows": 65535, "Columns": 65535}),
    ],
)
def test_pixels_that_cannot_be_had(read_bytes: Any, expected: Reason, tags: dict[str, Any]) -> None:
    result = read_bytes(dicom_file(VALUES, **tags))
    assert reason(result) is expected
    assert result.status is Status.FAILED
    assert result.identity.study_instance_uid


def test_a_chest_film_without_pixels_fails(read_bytes: Any) -> None:
    assert reason(read_bytes(dicom_file(None))) is Reason.NO_PIXELS
    assert reason(read_bytes(dicom_file(None, Modality="SR"))) is Reason.NOT_A_RADIOGRAPH
    assert reason(read_bytes(dicom_file(VALUES, frame=b""))) is Reason.NO_PIXELS


def test_a_header_that_is_cut_fails(read_bytes: Any) -> None:
    data = dicom_file(VALUES)
    end_of_header = data.index(b"\xe0\x7f\x10\x00")
    assert reason(read_bytes(data[: end_of_header - 3])) is Reason.CORRUPT_HEADER


def test_unknown_transfer_syntax(read_bytes: Any) -> None:
    data = dicom_file(VALUES, LOSSLESS_SYNTAXES["RLE"])
    assert b"1.2.840.10008.1.2.5\0" in data
    result = read_bytes(data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.9\0"))
    assert reason(result) is Reason.UNSUPPORTED_SYNTAX


@pytest.mark.parametrize("name", ["JPEG lossless", "JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"])
def test_a_code_stream_of_another_size_is_not_decoded(read_bytes: Any, name: str) -> None:
    frame = encoded(film_values(240, 200), LOSSLESS_SYNTAXES[name])
    result = read_bytes(dicom_file(VALUES, LOSSLESS_SYNTAXES[name], frame=frame))
    assert reason(result) is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize("name", ["JPEG 2000", "HTJ2K"])
@pytest.mark.parametrize("field", [24, 28, 32, 36])
def test_tiles_that_are_elsewhere_take_no_hours(read_bytes: Any, name: str, field: int) -> None:
    frame = encoded(VALUES, LOSSLESS_SYNTAXES[name])
    at = frame.index(b"\xff\x4f\xff\x51") + field
    extreme = b"\xff\xff\0\0" if field >= 32 else bytes(4)
    result = read_bytes(
        dicom_file(VALUES, LOSSLESS_SYNTAXES[name], frame=frame[:at] + extreme + frame[at + 4 :])
    )
    assert reason(result) is Reason.CORRUPT_PIXELS


def test_a_broken_block_of_htj2k_is_not_half_a_film(
    read_bytes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    syntax = LOSSLESS_SYNTAXES["HTJ2K"]
    frame = encoded(VALUES, syntax)
    rng, failed = np.random.default_rng(5), 0
    for _ in range(60):
        damaged = bytearray(frame)
        for at in rng.integers(100, len(frame) - 2, 20):
            damaged[at] = rng.integers(256)
        failed += isinstance(read_bytes(dicom_file(VALUES, syntax, frame=bytes(damaged))), Unscreened)
    assert failed
    assert "Exception ignored" not in capsys.readouterr().err


@pytest.mark.parametrize("charset", ["ISO_IR 999", "ISO 2022 IR 87", ["", "bogus"], "GB18030"])
def test_no_character_set_brings_it_down(read_bytes: Any, charset: str | list[str]) -> None:
    data = dicom_file(VALUES, SpecificCharacterSet="ISO_IR 100", PatientID="J\xe4ger", **WINDOW)
    assert film(read_bytes(data)).identity.patient_id == "J\xe4ger"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        declared = charset if isinstance(charset, str) else "\\".join(charset)
        broken = data.replace(b"CS\x0a\x00ISO_IR 100", b"CS\x0a\x00" + declared.encode().ljust(10)[:10])
    assert film(read_bytes(broken)).identity.study_instance_uid


def test_marks_that_turn_the_reading_direction_do_not_get_through(read_bytes: Any) -> None:
    data = dicom_file(VALUES, SpecificCharacterSet="ISO_IR 192", PatientID="1\u202e2\u2066\u200f3", **WINDOW)
    assert film(read_bytes(data)).identity.patient_id == "123"


def test_control_characters_do_not_get_through(read_bytes: Any) -> None:
    data = dicom_file(VALUES, PatientID="A123456789", **WINDOW)
    hostile = data.replace(b"A123456789", b"A\x1b[2J\r\n\x00\x07B")
    assert film(read_bytes(hostile)).identity.patient_id == "A[2JB"


def test_deeply_nested_sequences(read_bytes: Any) -> None:
    data = dicom_file(VALUES, **WINDOW)
    at = data.index(b"\x10\x00\x20\x00LO")
    nested = b"\x09\x00\x10\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    result = read_bytes(data[:at] + nested + data[at:])
    assert reason(result) is Reason.CORRUPT_HEADER
    other = dicom_file(VALUES, Modality="MR", **WINDOW)
    at = other.index(b"\x10\x00\x20\x00LO")
    assert reason(read_bytes(other[:at] + nested + other[at:])) is Reason.NOT_A_RADIOGRAPH


def test_a_length_that_lies_reserves_nothing(read_bytes: Any) -> None:
    data = dicom_file(VALUES, PatientComments="x" * 10, **WINDOW)
    lying = data.replace(b"PHANTOM ", b"PHANTOM ").replace(b"LT\x0a\x00", b"UT\x00\x00", 1)
    assert isinstance(read_bytes(lying), Film | Unscreened)
    at = data.index(b"\xe0\x7f\x10\x00OW\x00\x00") + 8
    long = data[:at] + b"\xf0\xff\xff\xff" + data[at + 4 :]
    np.testing.assert_array_equal(square(read_bytes(long)), square(read_bytes(data)))


def test_details_never_quote_a_tag(read_bytes: Any) -> None:
    secret = "SECRET^PATIENT"
    for tags in ({"BodyPartExamined": "HIP"}, {"Rows": None}, {"PhotometricInterpretation": "SECRET"}):
        result = read_bytes(dicom_file(VALUES, PatientID=secret, **tags))
        assert isinstance(result, Unscreened)
        assert "SECRET" not in result.detail


@pytest.mark.parametrize(
    ("photometric", "planar", "syntax"),
    [
        ("RGB", 0, ExplicitVRLittleEndian),
        ("RGB", 1, ExplicitVRLittleEndian),
        ("YBR_FULL", 0, ExplicitVRLittleEndian),
    ],
)
def test_colour_becomes_luminance(read_bytes: Any, photometric: str, planar: int, syntax: str) -> None:
    values = film_values(bits=8).astype(np.uint8)
    neutral = np.full_like(values, 128)
    samples = np.dstack([values, neutral, neutral] if photometric == "YBR_FULL" else [values] * 3)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": planar}

    def stored(samples: NDArray[np.uint8]) -> bytes:
        return (np.moveaxis(samples, -1, 0) if planar else samples).tobytes()

    result = film(read_bytes(dicom_file(values, syntax, bits_stored=8, frame=stored(samples), **tags)))
    np.testing.assert_array_equal(result.pixels.values, values)
    assert result.warnings == ()
    samples[:, :, 2] //= 2
    result = film(read_bytes(dicom_file(values, syntax, bits_stored=8, frame=stored(samples), **tags)))
    assert result.warnings == (Warn.COLOUR,)


def test_palette(read_bytes: Any) -> None:
    values = film_values(bits=8).astype(np.uint8)
    ramp = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for ink in ("Red", "Green", "Blue"):
        tags[f"{ink}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{ink}PaletteColorLookupTableData"] = ramp
    result = film(read_bytes(dicom_file(values, bits_stored=8, **tags)))
    np.testing.assert_array_equal(result.pixels.values, values.astype(np.uint16) * 257)
    assert result.warnings == ()


def test_the_digest_covers_all_that_enters_the_lookup(read_bytes: Any) -> None:
    base = {**WINDOW}
    variants: list[dict[str, Any]] = [
        {},
        {"WindowCenter": 2101},
        {"WindowWidth": 2901},
        {"RescaleIntercept": 5, "RescaleSlope": 1},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PixelPaddingValue": 3},
        {"VOILUTFunction": "SIGMOID"},
        {"HighBit": 12},
    ]
    digests = [film(read_bytes(dicom_file(VALUES, **(base | v)))).pixel_digest for v in variants]
    digests.append(film(read_bytes(dicom_file(VALUES, LOSSLESS_SYNTAXES["implicit"], **base))).pixel_digest)
    digests.append(film(read_bytes(dicom_file(VALUES + 1, **base))).pixel_digest)
    assert len(set(digests)) == len(digests)
    other = film(read_bytes(dicom_file(VALUES, PatientID="X", SOPInstanceUID="1.2.3", **base)))
    assert other.pixel_digest == digests[0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_never_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(LOSSLESS_SYNTAXES)))
    whole = _SMALL[name]
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            # The header is a tenth of the file: half of the damage goes there.
            end = data.draw(st.sampled_from([min(1200, len(damaged)), len(damaged)]))
            damaged[data.draw(st.integers(0, end - 1))] ^= data.draw(st.integers(1, 255))
    result = read_from_bytes(tmp_path_factory.getbasetemp(), bytes(damaged))
    assert isinstance(result, Film | Unscreened)
    if isinstance(result, Film):
        square_from_pixels(result.pixels, SPEC)


_SMALL = {
    name: dicom_file(film_values(40, 36), syntax, **WINDOW) for name, syntax in LOSSLESS_SYNTAXES.items()
}
