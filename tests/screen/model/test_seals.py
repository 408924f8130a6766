"""A seal holds for one document, one kind and one key, and for nothing that differs in a single byte."""

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen.errors import SealError, UsageError
from screen.files import configuration_folder
from screen.model.seals import PrivateKey, PublicKey, ThisMachine, parts, sealed, unsealed
from tests.signing_keys import openssl_keys

CONTENT = {"digest": "0" * 64, "profile": [1, 2, 3], "certificate": {"largest": 0.00125, "name": "ü"}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_this_machines_seal() -> None:
    data = sealed("engine", CONTENT, ThisMachine())
    assert unsealed(data, "engine", ThisMachine()) == CONTENT
    key = configuration_folder() / "engine-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    with pytest.raises(SealError, match="another key"):
        unsealed(data, "engine", ThisMachine())
    with pytest.raises(SealError, match="of the kind"):
        parts(data, "engine certificate")


def test_a_seal_of_one_kind_is_none_of_another() -> None:
    data = sealed("engine", CONTENT, ThisMachine()).replace(b'"engine"', b'"other"')
    with pytest.raises(SealError, match="does not hold"):
        unsealed(data, "other", ThisMachine())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    """What still opens says the same: only the space between words may differ."""
    machine = ThisMachine()
    good = sealed("engine", CONTENT, machine)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(max_size=2)) + good[at + 1 :]
    try:
        assert unsealed(bad, "engine", machine) == CONTENT
    except SealError:
        return


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"\xff", b'{"kind": "engine"}', b"[" * 100_000, b'{"kind": "engine", "content": NaN}',
     b'{"kind": "engine", "content": {}, "seal": {"method": 1, "value": ""}}',
     b'{"kind": "engine", "content": {}, "seal": {"method": "hmac-sha256", "value": "x"}}'],
)  # fmt: skip
def test_what_is_no_document(document: bytes) -> None:
    with pytest.raises(SealError):
        unsealed(document, "engine", ThisMachine())


def test_keys_of_openssl(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra 'trt'")
    private, public = openssl_keys(tmp_path)
    data = sealed("engine", CONTENT, PrivateKey(private))
    assert unsealed(data, "engine", PublicKey(public)) == CONTENT
    (tmp_path / "other").mkdir()
    _, others = openssl_keys(tmp_path / "other")
    with pytest.raises(SealError, match="another key"):
        unsealed(data, "engine", PublicKey(others))
    with pytest.raises(SealError, match="ed25519, where hmac-sha256 is asked for"):
        unsealed(data, "engine", ThisMachine())
    swapped = json.loads(data)
    swapped["content"]["profile"] = [1, 2, 4]
    with pytest.raises(SealError, match="does not hold"):
        unsealed(json.dumps(swapped).encode(), "engine", PublicKey(public))


def test_files_that_are_no_keys(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra 'trt'")
    private, public = openssl_keys(tmp_path)
    for path in (public, tmp_path / "missing", *openssl_keys(tmp_path, "x25519")):
        if path.exists():
            path.chmod(0o600)
        with pytest.raises(UsageError, match=path.name):
            PrivateKey(path)
    for path in (private, tmp_path / "missing", tmp_path / "x25519-public.pem"):
        with pytest.raises(UsageError, match=path.name):
            PublicKey(path)
    private.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        PrivateKey(private)


def test_a_key_file_that_is_broken(tmp_path: Path) -> None:
    key = configuration_folder() / "engine-key"
    key.parent.mkdir(parents=True)
    for text in ("not hex", "abcd"):
        key.write_text(text)
        key.chmod(0o600)
        with pytest.raises(UsageError, match="remove it"):
            ThisMachine()
    key.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        ThisMachine()
