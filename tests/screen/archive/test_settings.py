"""archives.toml: no secret in it, no secret to the network, and what is wrong is said by its name."""

import base64
import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from screen.archive.connection import Connection
from screen.archive.dicomweb import DicomWeb
from screen.archive.settings import Archive, archive_named
from screen.errors import UsageError
from screen.runs.stopping import Stop
from tests.fake_archive import FakeArchive, serving

HTTPS = 'url = "https://pacs.example.org/dicom-web/"\n'


def archive(folder: Path, table: str, name: str = "pacs") -> Archive:
    file = folder / "archives.toml"
    file.write_text(f"[{name}]\n{table}")
    return archive_named(name, file)


def secret(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    found = archive(tmp_path, HTTPS)
    assert found == Archive("pacs", "https://pacs.example.org/dicom-web", timeout=60, batch=10)
    found = archive(tmp_path, HTTPS + "timeout = 2.5\nbatch = 3\n")
    assert (found.timeout, found.batch) == (2.5, 3)


def test_secrets_come_from_files_of_ones_own(tmp_path: Path) -> None:
    password = secret(tmp_path, "s3cret ü\n")
    found = archive(tmp_path, HTTPS + f'user = "screen"\npassword_file = "{password}"\n')
    assert found.authorization == basic("screen", "s3cret ü")
    assert "s3cret" not in repr(found)
    assert found.authorization not in repr(found)
    found = archive(tmp_path, HTTPS + f'token_file = "{secret(tmp_path, "abc.def")}"\n')
    assert found.authorization == "Bearer abc.def"


def test_or_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SCREEN_MAIN_PACS_2_PASSWORD", "s3cret")
    found = archive(tmp_path, HTTPS + 'user = "screen"\n', name="main-pacs-2")
    assert found.authorization == basic("screen", "s3cret")
    monkeypatch.setenv("CXR_SCREEN_PACS_TOKEN", "abc")
    assert archive(tmp_path, HTTPS).authorization == "Bearer abc"


def test_a_bare_name_is_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may belong to root, and be opened to the service by an access control list."""
    table = HTTPS + 'user = "screen"\npassword_file = "secret"\n'
    with pytest.raises(UsageError, match="LoadCredential"):
        archive(tmp_path, table)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret(tmp_path, "s3cret", mode=0o440)
    assert archive(tmp_path, table).authorization == basic("screen", "s3cret")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('password = "s3cret"\n', "password_file"),
        ('Token = "s3cret"\n', "token_file"),
        ('url = "https://me:s3cret@pacs/dicom-web"\n', "password_file"),
        ('url = "https://s3cret@pacs/dicom-web"\n', "password_file"),
        ('url = "ftp://pacs/dicom-web"\n', "url is like"),
        ('url = "https://"\n', "url is like"),
        ('url = "https://pacs/dicom-web?x=1"\n', "url is like"),
        ('url = "https://[pacs"\n', "no address"),
        ("url = 3\n", "a text"),
        ("", "url is like"),
        ('url = "http://pacs/dicom-web"\n', "https://"),
        ('url = "http://127.0.0.1.example.org/dicom-web"\n', "https://"),
        (HTTPS + "port = 3\n", "unknown setting 'port'"),
        (HTTPS + "timeout = 0\n", "between"),
        (HTTPS + "timeout = true\n", "a number"),
        (HTTPS + "timeout = nan\n", "between"),
        (HTTPS + "batch = 2.5\n", "a whole number"),
        (HTTPS + 'insecure = "yes"\n', "true or false"),
        (HTTPS + 'user = "screen"\n', "belong together"),
        (HTTPS + 'password_file = "/nonexistent/s3cret"\n', "cannot be read"),
        (HTTPS + 'password_file = "secrets/s3cret"\n', "full path"),
        (HTTPS + 'ca_file = "/nonexistent/ca.pem"\n', "not there"),
        ("x = [\n", "no TOML"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"archives\.toml") as raised:
        archive(tmp_path, table)
    assert said in str(raised.value)
    assert "s3cret" not in str(raised.value).replace("/nonexistent/s3cret", "")


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    password = secret(tmp_path, "s3cret", mode)
    with pytest.raises(UsageError, match="chmod 600"):
        archive(tmp_path, HTTPS + f'user = "screen"\npassword_file = "{password}"\n')


@pytest.mark.parametrize("text", ["", "\n", "a\nb", "a\r\nX-Header: b"])
def test_a_secret_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="one line"):
        archive(tmp_path, HTTPS + f'token_file = "{secret(tmp_path, text)}"\n')


def test_an_unknown_archive_is_not_said_back(tmp_path: Path) -> None:
    (tmp_path / "archives.toml").write_text("[a]\n[b]\n")
    with pytest.raises(UsageError, match="there is: a, b") as raised:
        archive_named("https://me:s3cret@pacs/", tmp_path / "archives.toml")
    assert "s3cret" not in str(raised.value)
    with pytest.raises(UsageError, match="write a table"):
        archive_named("pacs", tmp_path / "none.toml")


@pytest.mark.parametrize("host", ["localhost:8042", "127.0.0.1", "127.8.0.1", "[::1]:8042"])
def test_plain_http_is_for_this_machine(tmp_path: Path, host: str) -> None:
    assert archive(tmp_path, f'url = "http://{host}/dicom-web"\n').url == f"http://{host}/dicom-web"


def test_or_for_who_says_that_it_is_insecure(tmp_path: Path) -> None:
    assert archive(tmp_path, 'url = "http://pacs/x"\ninsecure = true\n').url == "http://pacs/x"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For 127.0.0.1, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pacs")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def patients(target: Archive) -> list[str]:
    with Connection(target, Stop(), pauses=()) as connection:
        return DicomWeb(connection).patients_of("1.2.3")


def test_who_is_not_vouched_for_gets_no_password(tmp_path: Path, certificate: Path) -> None:
    with serving(FakeArchive(), certificate) as fake:
        with pytest.raises(UsageError, match=r"\(self-signed certificate\).*ca_file"):
            patients(Archive("pacs", fake.url, authorization="Bearer abc"))
        assert fake.asked == []
        assert patients(Archive("pacs", fake.url, authorization="Bearer abc", ca_file=certificate)) == []
        assert [headers["Authorization"] for *_, headers in fake.asked] == ["Bearer abc"]
        elsewhere = fake.url.replace("127.0.0.1", "localhost")
        with pytest.raises(UsageError, match=r"\(Hostname mismatch"):
            patients(Archive("pacs", elsewhere, ca_file=certificate))


def test_a_ca_file_holds_certificates(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no certificate"):
        Connection(Archive("pacs", "https://pacs/x", ca_file=secret(tmp_path, "x")), Stop())


def test_neither_proxy_nor_password_comes_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(FakeArchive()) as fake:
        assert patients(Archive("pacs", fake.url)) == []
        assert "Authorization" not in fake.asked[0][3]
