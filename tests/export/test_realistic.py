"""Films made for benchmarks and certificates are read as the chest films that they say they are."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit

from export.realistic import SYNTAXES, dicom_bytes, eight_bits, film_from_small
from tests.phantoms import film, read_from_bytes

SMALL = np.add.outer(np.linspace(0, 200, 60), np.linspace(0, 55, 50)).astype(np.uint8)


@pytest.fixture(scope="module")
def values() -> NDArray[np.uint16]:
    return film_from_small(SMALL, seed=1, longer_side=241)


@pytest.mark.parametrize("name", SYNTAXES)
def test_every_syntax_reads_back(name: str, values: NDArray[np.uint16], tmp_path: Path) -> None:
    syntax = SYNTAXES[name]
    data = dicom_bytes(values, syntax, sop_instance_uid="2.25.1", study_instance_uid="2.25.2", patient_id="P")
    found = film(read_from_bytes(tmp_path, data))
    assert (found.identity.sop_instance_uid, found.identity.study_instance_uid) == ("2.25.1", "2.25.2")
    assert (found.identity.patient_id, found.identity.view) == ("P", "PA")
    assert found.declared_chest
    assert found.warnings == ()
    if syntax == JPEGBaseline8Bit:
        assert np.abs(found.pixels.values.astype(int) - eight_bits(values)).mean() < 1
    else:
        assert np.array_equal(found.pixels.values, values)
    assert dcmread(tmp_path / "file").file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("name", ["explicit", "rle", "jpeg-ls"])
def test_eight_bits_read_back(name: str, values: NDArray[np.uint16], tmp_path: Path) -> None:
    data = dicom_bytes(eight_bits(values), SYNTAXES[name], sop_instance_uid="2.25.1")
    assert np.array_equal(film(read_from_bytes(tmp_path, data)).pixels.values, eight_bits(values))


def test_pydicom_decodes_our_run_lengths(values: NDArray[np.uint16], tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(dicom_bytes(values, SYNTAXES["rle"], sop_instance_uid="2.25.1"))
    assert np.array_equal(dcmread(tmp_path / "film").pixel_array, values)


def test_a_film_has_the_size_depth_and_noise_of_a_detectors() -> None:
    grey = np.full((100, 80), 128, np.uint8)
    found = film_from_small(grey, seed=3, longer_side=400)
    assert found.shape == (400, 320)
    assert found.dtype == np.uint16
    assert found.mean() == pytest.approx(140 + 128 * 3800 / 255, abs=1)
    grain = found - found.mean()
    assert grain.std() == pytest.approx(8 * 10 ** (0.5 * found.mean() / 4095), rel=0.05)
    neighbours = float((grain[:, 1:] * grain[:, :-1]).mean() / grain.var())
    assert 0.1 < neighbours < 0.4
    extremes = film_from_small(np.array([[0, 255]], np.uint8).repeat(50, 1).repeat(50, 0), 3, 400)
    assert 0 < extremes.min() < extremes.max() <= 4095
    assert extremes[:, -50:].std() > 2.5 * extremes[:, :50].std()


def test_a_seed_is_a_film() -> None:
    first, again, other = (film_from_small(SMALL, seed, 200) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_films_compress_as_hospitals_do(shared: Path) -> None:
    small = cv2.imread(str(next((shared / "cxr" / "images").glob("nih_*.jpg"))), cv2.IMREAD_GRAYSCALE)
    values = film_from_small(np.asarray(small, np.uint8), seed=0)
    assert max(values.shape) == 3056
    for name in ("jpeg-ls", "jpeg-lossless"):
        assert 2.2 < values.nbytes / len(dicom_bytes(values, SYNTAXES[name], sop_instance_uid="2.25.1")) < 3


def test_an_unknown_syntax_is_refused(values: NDArray[np.uint16]) -> None:
    with pytest.raises(ValueError, match="can be written"):
        dicom_bytes(values, "1.2.3", sop_instance_uid="2.25.1")
