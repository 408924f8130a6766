"""Damaged files end as one result each, and a rule that is broken is found."""

from pathlib import Path
from random import Random

import imagecodecs
import numpy as np
import pytest

from benchmarks.material.contradictions import contradicted
from benchmarks.material.mutations import mutated
from benchmarks.material.seeds import seeds
from benchmarks.material.structure import elements, fragments, segments
from benchmarks.survival.fuzz import fuzz
from screen.readers.limits import Refusal
from screen.readers.picture_headers import picture_header
from screen.readers.signature import Kind
from tests.phantoms import LOSSLESS_SYNTAXES, dicom_file, film_values
from tests.places import EXAMPLES


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom in every encoding."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, syntax in LOSSLESS_SYNTAXES.items():
        (folder / name).write_bytes(
            dicom_file(film_values(64, 48), syntax, WindowCenter=2000, WindowWidth=3000)
        )
    return folder


def test_thousands_of_damaged_files_end_as_one_result_each(tmp_path: Path, corpus: Path) -> None:
    figures = fuzz([corpus, EXAMPLES], count=3000, seed=7, seconds=None, workers=2, keep=tmp_path / "keep")
    assert figures.broken == []
    assert figures.files == sum(figures.results.values()) == 3000
    for ending in ("screened", "corrupt_header", "corrupt_pixels", "too_large", "unsupported_pixels"):
        assert figures.results[ending] > 0


def test_a_bug_is_found_named_and_kept(tmp_path: Path, corpus: Path) -> None:
    decode = "tests.faulty_decode:bug_in_every_tenth"
    figures = fuzz([corpus], 25, seed=3, seconds=None, workers=1, keep=tmp_path / "keep", decode=decode)
    assert [line.split(":")[0] for line in figures.broken] == ["3-0000000", "3-0000010", "3-0000020"]
    assert figures.files == 25
    assert sum(figures.results.values()) == 22
    kept = tmp_path / "keep" / "bug"
    assert (kept / "3-0000010").read_bytes() == mutated(seeds([corpus]), Random("3:10"))
    assert "KeyError" in (kept / "3-0000010.txt").read_text()


def test_the_structure_of_a_file_is_found(corpus: Path) -> None:
    plain, jpeg = ((corpus / name).read_bytes() for name in ("explicit", "JPEG lossless"))
    assert {0x00020010, 0x00280010, 0x7FE00010} <= {e.tag for e in elements(plain)}
    (rows,) = (e for e in elements(plain) if e.tag == 0x00280010)
    assert rows.with_value(plain, b"\xff\xff")[rows.value : rows.end] == b"\xff\xff"
    assert len(fragments(jpeg)) == 2
    assert [jpeg[start + 1] for start, _ in segments(jpeg)][-1] == 0xDA


def test_contradictions_are_well_formed(corpus: Path) -> None:
    """Nearly all lengths are right, or nothing behind them would be read."""
    plain = (corpus / "explicit").read_bytes()
    kinds, whole = set(), 0
    for index in range(200):
        changed = contradicted(plain, Random(index))
        found = {e.tag: e for e in elements(changed)}
        whole += {0x00280010, 0x7FE00010} <= set(found)
        kinds |= {tag for tag, e in found.items() if changed[e.value : e.end] not in plain}
    assert whole > 150
    assert {0x00020010, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00281101} <= kinds


def test_contradictions_in_a_tiff_stay_in_its_directory() -> None:
    samples = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48).astype(np.uint8)
    picture = bytes(imagecodecs.tiff_encode(samples))
    said = set()
    for index in range(200):
        changed = contradicted(picture, Random(index))
        try:
            picture_header(changed, Kind.TIFF)
        except Refusal as refusal:
            said.add(refusal.detail)
    assert any("several values" in detail for detail in said)
    assert any("palette" in detail or "sample format" in detail for detail in said)
