"""Who is named in a run's files: everybody (`full`), keyed pseudonyms, or those without any list.

A pseudonym is HMAC-SHA-256 of kind and value under the site's one key, so reruns and later nights give the
same ones, and nobody without the key can try names out. The key comes from `CXR_SCREEN_KEY` or from a 0600
file in the user's configuration folder, made on first use; it never lies in a run's folder.
"""

import csv
import hashlib
import hmac
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from screen.errors import ScreenError, UsageError
from screen.files import configuration_folder, secret_from_file
from screen.film import Identity
from screen.readers.vocabulary import CAPTURES, OTHER_MODALITIES, RADIOGRAPHS
from screen.text import safe_path, safe_text

MODES = ("full", "pseudonym", "none")
KEY_VARIABLE = "CXR_SCREEN_KEY"
_SHORTEST_KEY = 16
_COLUMNS = (
    "file_pseudonym", "file", "patient_pseudonym", "patient_id", "accession_pseudonym", "accession_number",
    "study_pseudonym", "study_instance_uid", "series_pseudonym", "series_instance_uid",
    "sop_pseudonym", "sop_instance_uid",
)  # fmt: skip
_VIEWS = frozenset(
    {
        *("PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "AP_AXIAL"),
        *("LAT", "LLAT", "RLAT", "LATERAL", "OBL", "OBLIQUE"),
    }
)
"""Views by their codes (PS3.3 C.8.1.1, C.8.11.5, PS3.16 CID 4010) and the words that machines write for them.

ViewPosition takes any text, and a name has been typed into it before: another word is no view.
"""
_MODALITIES = RADIOGRAPHS | OTHER_MODALITIES | CAPTURES
_SEXES = frozenset("MFO")
_MAKERS = (
    "AGFA", "CANON", "CARESTREAM", "DRGEM", "FUJIFILM", "FUJI", "GE", "HOLOGIC", "IRAY", "KODAK", "KONICA",
    "LG", "LISTEM", "MINDRAY", "PHILIPS", "RAYENCE", "SAMSUNG", "SHIMADZU", "SIEMENS", "SWISSRAY", "THALES",
    "TOSHIBA", "TRIXELL", "UNITED IMAGING", "VAREX", "VARIAN", "VIEWORKS",
)  # fmt: skip
_MODELS = (
    "AXIOM", "CXDI", "DEFINIUM", "DIGITAL DIAGNOST", "DIGITALDIAGNOST", "DISCOVERY", "DR 100E", "DRX", "FDR",
    "GC85A", "GM85", "LUMINOS", "MOBILEDIAGNOST", "MOBILETT", "MULTIX", "OPTIMA", "PCR ELEVA", "RADSPEED",
    "SONIALVISION", "THORAX", "YSIO",
)  # fmt: skip
"""Words for makers and families of devices that may stand in outputs that hide identities."""


def key_file() -> Path:
    """Where the site's key lies if the environment has none."""
    return configuration_folder() / "key"


def site_key() -> bytes:
    """The key for pseudonyms, made on first use.

    Raises UsageError if it is too short, or if others can read or replace its file.
    """
    if given := os.environ.get(KEY_VARIABLE):
        return _checked(given, KEY_VARIABLE)
    path = key_file()
    try:
        return _checked(secret_from_file(path), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ScreenError(
            f"{path}: the key for pseudonyms cannot be kept there; set {KEY_VARIABLE}"
        ) from error


def _checked(key: str, where: str) -> bytes:
    if len(key) < _SHORTEST_KEY:
        raise UsageError(
            f"{where}: a key of at least {_SHORTEST_KEY} characters is needed (openssl rand -hex 32)"
        )
    return key.encode()


class Identifiers:
    """`full`: everything as it is."""

    mode = "full"
    hides = False

    @property
    def setting(self) -> str:
        """What rows must have in common to stand in one ledger."""
        return self.mode

    def file(self, key: str) -> str:
        """A source's key as files of the run show it."""
        return key

    def token(self, change_token: str) -> str:
        """A change token as the ledger keeps it."""
        return change_token

    def identity(self, identity: Identity) -> Identity:
        """Who a film is, as files of the run show it."""
        return identity


class Pseudonyms(Identifiers):
    """`pseudonym` and `none`: file, patient, accession number and UIDs keyed, no dates, known views."""

    hides = True

    def __init__(self, mode: str, key: bytes) -> None:
        self.mode = mode
        self._key = key

    @property
    def setting(self) -> str:
        """Mode and key: under another key nothing would match."""
        return f"{self.mode}:{self._digest('key', '').hex()[:16]}"

    def file(self, key: str) -> str:
        """32 hex digits."""
        return self._digest("file", key).hex()

    def token(self, change_token: str) -> str:
        """Keyed: a file's time tells the date of the study."""
        return self._digest("token", change_token).hex()

    def identity(self, identity: Identity) -> Identity:
        """Pseudonyms; what is empty stays empty.

        Field by field: one that nobody has decided on stays empty too.
        """
        return Identity(
            patient_id=self._named("patient", identity.patient_id),
            accession_number=self._named("accession", identity.accession_number),
            study_date="",
            study_instance_uid=self._uid(identity.study_instance_uid),
            series_instance_uid=self._uid(identity.series_instance_uid),
            sop_instance_uid=self._uid(identity.sop_instance_uid),
            view=identity.view if identity.view in _VIEWS else "",
            modality=identity.modality if identity.modality in _MODALITIES else "",
            manufacturer=self._known("maker", identity.manufacturer, _MAKERS),
            manufacturer_model_name=self._known("model", identity.manufacturer_model_name, _MODELS),
            software_versions=self._named("software", identity.software_versions),
            station_name=self._named("station", identity.station_name),
            institution_name=self._named("institution", identity.institution_name),
            acquisition_date="",
            patient_sex=identity.patient_sex if identity.patient_sex in _SEXES else "",
            patient_age=_decade(identity.patient_age),
        )

    def _known(self, kind: str, value: str, known: Sequence[str]) -> str:
        """The first known word that stands in it, else a pseudonym: people write all sorts there."""
        words = f" {re.sub(r'[^A-Z0-9]+', ' ', value.upper())} "
        return next((word for word in known if f" {word} " in words), "") or self._named(kind, value)

    def _named(self, kind: str, value: str) -> str:
        return self._digest(kind, value).hex() if value else ""

    def _uid(self, value: str) -> str:
        """A valid UID again: 2.25 and a 128-bit number (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', value))}" if value else ""

    def _digest(self, kind: str, value: str) -> bytes:
        message = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, message, hashlib.sha256)[:16]


def _decade(age: str) -> str:
    """045Y -> 040Y; the first years are 000Y, from 90 on all are 090Y; what is no age is empty."""
    match = re.fullmatch(r"([0-9]{3})([DWMY])", age)
    if match is None:
        return ""
    years = int(match[1]) if match[2] == "Y" else 0
    return f"{min(years // 10 * 10, 90):03}Y"


def identifiers_for(mode: str) -> Identifiers:
    """The mode's identifiers; fetches the site's key where one is needed. Raises UsageError."""
    if mode not in MODES:
        raise UsageError(f"identifiers are {', '.join(MODES)}; there are none called '{mode}'")
    return Identifiers() if mode == "full" else Pseudonyms(mode, site_key())


class IdentityFile:
    """The mapping from pseudonyms back: a CSV, one line per film, appended and durable before its row is."""

    def __init__(self, path: Path, run_folder: Path) -> None:
        """Raises UsageError if the file would lie in the run's folder, ScreenError if it is not writable."""
        if path.resolve().is_relative_to(run_folder.resolve()):
            raise UsageError(
                "--identities must lie outside the run's folder: one must not come with the other"
            )
        try:
            descriptor = os.open(
                path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            raise ScreenError(f"{path}: cannot be written ({error.strerror})") from error
        self._path = path
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._pending: list[tuple[str, ...]] = []

    def add(self, hidden_file: str, file: str, hidden: Identity, identity: Identity) -> None:
        """Note one film; written by the next `flush`."""
        self._pending.append(
            (
                hidden_file, safe_path(file),
                hidden.patient_id, safe_text(identity.patient_id),
                hidden.accession_number, safe_text(identity.accession_number),
                hidden.study_instance_uid, safe_text(identity.study_instance_uid),
                hidden.series_instance_uid, safe_text(identity.series_instance_uid),
                hidden.sop_instance_uid, safe_text(identity.sop_instance_uid),
            )
        )  # fmt: skip

    def flush(self) -> None:
        """Make what was added durable; to be called before the rows are committed."""
        if not self._pending:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        try:
            size = os.fstat(self._file.fileno()).st_size
            if size == 0:
                writer.writerow(_COLUMNS)
            elif os.pread(self._file.fileno(), 1, size - 1) != b"\n":
                text.write("\n")  # an earlier run was cut off within a line
            writer.writerows(self._pending)
            data = memoryview(text.getvalue().encode())
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ScreenError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._pending.clear()

    def close(self) -> None:
        """What was not flushed is dropped, as its rows are."""
        self._file.close()
