"""`screen inspect`: what it writes."""

from pathlib import Path

from click.testing import CliRunner

from screen.cli import cli
from tests.films import dicom
from tests.micro_model import micro_bytes


def test_the_picture_replaces_a_planted_link_and_is_not_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(micro_bytes())
    film, other, out = dicom(tmp_path / "a.dcm", 1), tmp_path / "other", tmp_path / "square.png"
    other.write_text("precious")
    out.symlink_to(other)
    done = CliRunner().invoke(
        cli, ["inspect", str(film), "--out", str(out), "--model", str(tmp_path / "model.onnx")]
    )
    assert done.exit_code == 0, done.output
    assert other.read_text() == "precious"
    assert not out.is_symlink()
    assert out.read_bytes().startswith(b"\x89PNG")
    assert out.stat().st_mode & 0o777 == 0o600
