"""Every real DICOM file beside the checkout: what its manifest expects is what the reader says."""

import csv
from pathlib import Path

import numpy as np
import pytest

from screen.codes import Reason, Status
from screen.discover import discover
from screen.film import Film, Unscreened
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers import read
from tests.phantoms import LOSSLESS_SYNTAXES, dicom_file

SPEC = PreprocessSpec()


def read_path(path: Path) -> Film | Unscreened:
    (source,) = discover([path], None)
    return read(source)


def film(result: Film | Unscreened) -> Film:
    assert isinstance(result, Film), result
    return result


@pytest.fixture(scope="module")
def results(shared: Path) -> dict[str, tuple[dict[str, str], Film | Unscreened]]:
    folder = shared / "dicom"
    with (folder / "MANIFEST.csv").open(newline="") as stream:
        expected = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    found = {
        source.path.name: (expected[source.path.name], read(source))
        for source in discover([folder / "files"], None)
    }
    assert len(found) == len(expected)
    return found


def test_every_file_ends_as_the_manifest_expects(
    results: dict[str, tuple[dict[str, str], Film | Unscreened]],
) -> None:
    for name, (row, result) in results.items():
        expected = row["expected"]
        is_skipped = isinstance(result, Unscreened) and result.status is Status.SKIPPED
        if expected.startswith("readable chest") and row["modality"] == "CT":
            assert is_skipped, name
        elif expected.startswith("readable chest"):
            assert film(result).declared_chest, name
        elif name == "chrKoreanMulti.dcm":
            assert isinstance(result, Unscreened), name
            assert result.reason is Reason.NO_PIXELS, name
        elif expected.startswith(("not-a-radiograph", "readable non-chest")):
            # Where the tags say nothing the picture goes to the gate.
            says_nothing = not (row["modality"] or row["body_part"])
            assert is_skipped or (isinstance(result, Film) and says_nothing), (name, result)
            assert isinstance(result, Unscreened) or not result.declared_chest, name


def test_what_the_header_rules_out_costs_no_decoding(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*frame: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr("screen.readers.frames.decode_frame", decoded)
    chest = tmp_path / "chest.dcm"
    chest.write_bytes(dicom_file(np.zeros((64, 64), np.uint16), LOSSLESS_SYNTAXES["JPEG 2000"]))
    with pytest.raises(pytest.fail.Exception):
        read_path(chest)
    assert isinstance(read_path(shared / "dicom/files/MG1_J2KI"), Unscreened)


def test_one_film_under_two_lossy_syntaxes_is_close(
    results: dict[str, tuple[dict[str, str], Film | Unscreened]],
) -> None:
    one, other = (
        square_from_pixels(film(results[name][1]).pixels, SPEC).values.astype(int)
        for name in ("RG1_J2KI", "RG1_JLSN")
    )
    difference = np.abs(one - other)
    assert difference.mean() < 1
    assert difference.max() <= 16
    lungs, spine = one[80:140, 50:80].mean(), one[80:140, 105:115].mean()
    assert spine > lungs


def test_the_changed_polarity_tag_is_honoured(
    results: dict[str, tuple[dict[str, str], Film | Unscreened]],
) -> None:
    rsna = film(results["1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"][1]).pixels
    fake = film(results["Fake_MONOHR1.dcm"][1]).pixels
    np.testing.assert_array_equal(fake.values, rsna.values)
    np.testing.assert_array_equal(fake.lookup, rsna.lookup[::-1])


def test_udacity_repeats_one_picture(results: dict[str, tuple[dict[str, str], Film | Unscreened]]) -> None:
    films = [film(results[f"test{n}.dcm"][1]) for n in (1, 4, 6)]
    assert len({f.pixel_digest for f in films}) == 1
    assert len({f.identity.sop_instance_uid for f in films}) == 1


@pytest.mark.parametrize("storage", ["plain", "wider", "signed", "mirrored"])
def test_a_real_film_gives_one_square_however_it_is_stored(
    results: dict[str, tuple[dict[str, str], Film | Unscreened]], tmp_path: Path, storage: str
) -> None:
    stored = film(results["RG1_JLSN"][1]).pixels.values
    values = np.ascontiguousarray(stored >> 3).astype(np.uint16)
    low, high = (int(v) for v in np.percentile(values, (1, 99)))
    centre, width = (low + high) / 2, high - low
    path = tmp_path / "film.dcm"

    def square(**stored_as: object) -> np.ndarray:
        arguments: dict[str, object] = {"WindowCenter": centre, "WindowWidth": width, **stored_as}
        path.write_bytes(dicom_file(arguments.pop("values", values), **arguments))  # type: ignore[arg-type]
        return square_from_pixels(film(read_path(path)).pixels, SPEC).values

    variant: dict[str, object] = {
        "plain": {},
        "wider": {"bits_stored": 16},
        "signed": {
            "values": (values.astype(np.int32) - 2048).astype(np.int16),
            "RescaleIntercept": 2048,
            "RescaleSlope": 1,
        },
        "mirrored": {
            "values": 4095 - values,
            "WindowCenter": 4096 - centre,
            "PhotometricInterpretation": "MONOCHROME1",
        },
    }[storage]
    expected = square()
    assert expected.std() > 30
    for name, syntax in LOSSLESS_SYNTAXES.items():
        # pydicom's RLE encoder takes seconds for a film; the phantom has been through it.
        if name != "RLE" or storage == "plain":
            np.testing.assert_array_equal(square(syntax=syntax, **variant), expected, err_msg=name)
