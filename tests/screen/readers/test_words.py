"""What archives write for body parts, views and modalities: only what is known rules a film out."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from screen.codes import Reason
from screen.film import Film, Unscreened
from screen.readers.eligibility import is_lateral
from screen.readers.tags import quietly
from screen.readers.vocabulary import OTHER_MODALITIES, PARTS, VIEWS, Part, View
from screen.readers.words import part_from_words, spellings, view_from_words
from tests.phantoms import dicom_file, film, film_values, read_from_bytes

VALUES = film_values(48, 40)
CR = "1.2.840.10008.5.1.4.1.1.1"

CHEST = """
    CHEST|PORT CHEST|CHEST_ABDOMEN|THORAX ABDOMEN|CHESTABDPELVIS|NECKCHEST|RIBCAGE|RIBS|LUNGS|HEART|CXR
    AP PORTABLE CHES|TÒRAX|TÓRAX|T?RAX|T??RAX|TORAX AP|PECHO|CAJA TORÁCICA|C?TES|CÔTES|POUMON|POUMONS
    CAGE THORACIQUE|THORAX FACE|BRUSTKORB|LUNGE|RIPPEN|TORACE|TORACE AP|GABBIA TORACICA|PULMÃO|PULMAO|PULM?O
    BORSTKAS|KLATKA PIERSIOWA|KLATKA PIERSIOW|PŁUCA|P?UCA|HRUDNÍK|PLÍCE|BRÖSTKORG|BROESTKORG|LUNGOR
    BRYSTKASSE|RIBBEN|GÖĞÜS|AKCIĞER|AKCIGER|ГРУДНАЯ КЛЕТКА|ОРГАНЫ ГРУДНОЙ КЛЕТКИ|ОГК|ЛЁГКИЕ|ЛЕГКИЕ|ΘΩΡΑΚΑΣ
    ΘΏΡΑΚΟΣ|胸部|胸部正位|胸片|肺|흉부|가슴|폐|صدر|ＣＨＥＳＴ|LEFT RIBS|ABDOM PULMON|PULMON ABDOM|KNEE LUNG
    HEMITHORAX|HEMITÓRAX DER|KLP|KL.P
"""
OTHER = """
    HIP|KNEE|LEFTKNEE|LEFT KNEE|L KNEE|HAND|FOOT|SKULL|HEAD|ABDOMEN|ABD|PELVIS|CSPINE|C-SPINE|TSPINE|LSPINE
    SHOULDER|THORACIC SPINE|THORACOLUMBAR SP|BRUSTWIRBELSÄULE|BRUSTWIRBELSAEULE|BRUSTWIRBELSAEUL|BWS|KNIE
    HÜFTE|HUEFTE|H?FTE|SCHÄDEL|SCH?DEL|SCHAEDEL|BECKEN|GENOU|GENOU GAUCHE|CHEVILLE|ÉPAULE|EPAULE|?PAULE
    CRÂNE|BASSIN|RACHIS DORSAL|RODILLA|COLUMNA DORSAL|CADERA|MUÑECA|MU?ECA|GINOCCHIO|BACINO|SPALLA
    COLONNA DORSALE|JOELHO|MÃO|COLUNA TORÁCICA|KOLANO|KRĘGOSŁUP|KR?GOS?UP|CZASZKA|KOLENO|PÁTEŘ|KNÄ|HÖFT
    HOFTE|SKULDER|SKULDRA HAND|DIZ|OMUZ|KALÇA|КОЛЕННЫЙ СУСТАВ|ПОЗВОНОЧНИК|ТАЗ|ΓΟΝΑΤΟ|ΓΌΝΑΤΟ|膝関節|頭部|胸椎
    骨盤|膝关节|头颅|무릎|흉추|골반|ركبة|BASSIN DE FACE|ABDOMEN DE PIE|STAW SKOKOWY|EXTREMITY|LOWER EXTREMITY
    BREAST
"""
OPEN = """
    REMOVED|PORTABLE|AP PORTABLE CHE|UNKNOWN|OTHER|DEFAULT|TEST|N/A|---|????|XXXX|ANONYMIZED|ANONYMOUS|XRAY
    BEDSIDE|ROUTINE|STANDARD|WHOLE BODY|TRUNK|CLAVICLE|STERNUM|BRUST|C-ARM|AP DE PIE|HEAD UP|?A?B?C?A?B?C
    手術後|床头摄片|손상
    NG TUBE|ABDOMENLUNG|ABDOMINOTHORACIC|BREAST BONE|ABDOMEN PELVIS T|ABDOMEN UND THOR|SHOULDER AND CHE
    LINE PLACEMENT|PATIENT|ICU|NICU|GENERAL|SHOULDER CLAVICLE|THORACIC|DORSAL
"""
LATERAL = """
    LL|RL|LAT|LAT.|L LAT|LLAT|LATERAL|LEFT LATERAL|LATERALE|LATÉRALE|LAT?RALE|LATERALE SINISTR|PROFIL
    DE PROFIL|PROFIL GAUCHE|SEITLICH|SEITL.|SEITENAUFNAHME|PERFIL|PROFILO|BOCZNE|BOCZNA|BOČNÍ|BO?NÍ
    ZIJDELINGS|SIDOBILD|YAN|БОКОВАЯ|ΠΛΑΓΙΑ|側面|侧位|측면|RAO|LPO|OBLIQUE|PA OBLIQUE|OBLICUA|SCHRÄG|SCHR?G
    SKOŚNE|斜位
"""
FRONTAL = """
    PA|AP|FRONTAL|FACE|STANDARD|LLD|RLD|DECUBITUS|LATERAL DECUBITUS|LEFT LATERAL DEC|RIGHT LATERAL DE
    DECUBITO LATERAL|PA LAT|PA/LAT|LATERALITY|BILATERAL|ERECT|PORTABLE|SENTADO|LIEGEND|STEHEND|正面
    正侧位|正側位|P/A LATERAL|VORNE SEITLICH|FRENTE PERFIL|SAGITTAL|LEFT LATERAL DE|CUBITUS LATERAL|YAN YATIŞ
"""


def reported(words: str) -> list[str]:
    return [word.strip() for word in words.replace("\n", "|").split("|") if word.strip()]


@pytest.fixture
def read_film(tmp_path: Path) -> Any:
    """Read a film with these tags; strings that are not ASCII are written as UTF-8."""

    def read_it(**tags: Any) -> Film | Unscreened:
        tags = {k: v.encode().decode("latin-1") if isinstance(v, str) else v for k, v in tags.items()}
        return read_from_bytes(tmp_path, written(**tags))

    return read_it


def written(**tags: Any) -> bytes:
    """A film with tags that the standard forbids."""
    with quietly():
        return dicom_file(VALUES, WindowCenter=2000, WindowWidth=3000, **tags)


def code(value: str, scheme: str = "SCT") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "meaning"
    return [item]


@pytest.mark.parametrize(
    ("form", "part"),
    [
        (form.strip("*"), part)
        for part, all_of_it in PARTS.items()
        for e in all_of_it
        for form in spellings(e)
    ],
)
def test_every_body_part_of_the_table_means_one_thing(form: str, part: Part) -> None:
    assert part_from_words(form.upper()) is part


@pytest.mark.parametrize(
    ("form", "view"),
    [
        (form.strip("*"), view)
        for view, all_of_it in VIEWS.items()
        for e in all_of_it
        for form in spellings(e)
    ],
)
def test_every_view_of_the_table_means_one_thing(form: str, view: View) -> None:
    assert view_from_words(form.upper()) is view


@pytest.mark.parametrize("word", reported(CHEST))
def test_words_for_the_chest(word: str) -> None:
    assert part_from_words(word) is Part.CHEST


@pytest.mark.parametrize("word", reported(OTHER))
def test_words_for_other_parts(word: str) -> None:
    assert part_from_words(word) is Part.OTHER


@pytest.mark.parametrize("word", reported(OPEN))
def test_words_that_leave_it_to_the_picture(word: str) -> None:
    assert part_from_words(word) in (None, Part.VAGUE, Part.NONE)


@pytest.mark.parametrize("word", ["A?B C D", "(?[*", "\\?(?", "?" * 256, "A? B? C? D?", "�" * 9, "\0?A.*"])
def test_any_text_is_read(word: str) -> None:
    assert part_from_words(word) is None
    assert view_from_words(word) is None


@pytest.mark.parametrize("word", reported(LATERAL))
def test_words_for_lateral_and_oblique_views(word: str) -> None:
    assert is_lateral(word)


@pytest.mark.parametrize("word", [*reported(FRONTAL), ""])
def test_frontal_and_unknown_views(word: str) -> None:
    assert not is_lateral(word)


@pytest.mark.parametrize(("word", "declared"), [("TÒRAX", True), ("胸部", True), ("REMOVED", False)])
def test_a_chest_film_is_never_ruled_out_by_a_word(read_film: Any, word: str, declared: bool) -> None:
    assert film(read_film(BodyPartExamined=word)).declared_chest is declared


@pytest.mark.parametrize(
    ("charset", "encoding", "word"),
    [
        ("ISO_IR 100", "latin-1", "TÒRAX"),
        ("ISO_IR 144", "iso8859_5", "ГРУДНАЯ КЛЕТКА"),
        ("GB18030", "gb18030", "胸部"),
    ],
)
def test_words_are_read_in_the_character_set_of_the_file(
    tmp_path: Path, charset: str, encoding: str, word: str
) -> None:
    stored = word.encode(encoding).decode("latin-1")
    data = written(SpecificCharacterSet=charset, BodyPartExamined=stored)
    assert film(read_from_bytes(tmp_path, data)).declared_chest


def test_a_word_that_was_cut_within_a_letter_is_read_up_to_it(tmp_path: Path) -> None:
    stored = "КОЛЕННЫЙ СУСТАВ".encode()[:15].decode("latin-1")
    result = read_from_bytes(tmp_path, written(BodyPartExamined=stored))
    assert isinstance(result, Unscreened)
    assert result.reason is Reason.NOT_CHEST


@pytest.mark.parametrize(
    ("expected", "tags"),
    [
        (True, {"BodyPartExamined": "PECHO", "AnatomicRegionSequence": code("51185008")}),
        (True, {"BodyPartExamined": "ABDOMEN", "AnatomicRegionSequence": code("816094009")}),
        (True, {"AnatomicRegionSequence": code("123456789")}),
        (False, {"BodyPartExamined": "REMOVED", "AnatomicRegionSequence": code("123456789")}),
        (True, {"AnatomicRegionSequence": code("69536005", "99OURS")}),
        (Reason.NOT_CHEST, {"AnatomicRegionSequence": code("69536005")}),
        (Reason.NOT_CHEST, {"BodyPartExamined": "REMOVED", "AnatomicRegionSequence": code("T-D9200", "SRT")}),
        (Reason.LATERAL_VIEW, {"ViewPosition": "STANDARD", "ViewCodeSequence": code("399173006")}),
        (Reason.LATERAL_VIEW, {"ViewPosition": "STANDARD", "ViewCodeSequence": code("R-10232", "SRT")}),
        (Reason.LATERAL_VIEW, {"ViewPosition": "PROFIL"}),
        (True, {"ViewPosition": "LATERAL", "ViewCodeSequence": code("399348003")}),
        (True, {"ViewPosition": "STANDARD"}),
    ],
)
def test_codes_count_before_words(read_film: Any, expected: bool | Reason, tags: dict[str, Any]) -> None:
    result = read_film(**tags)
    if isinstance(expected, Reason):
        assert result.reason is expected
    else:
        assert film(result).declared_chest is expected


@pytest.mark.parametrize("modality", [
    "XR", "RX", "X-RAY", "X RAY", "XRAY", "RG", "DR", "CR/DX", "RTG", "GIBBERISH", "1",
    ["DX", "CR"], ["CR", "DX"], ["CR", "OT"], ["", "DX"],
])  # fmt: skip
def test_modalities_of_a_radiograph(read_film: Any, modality: str | list[str]) -> None:
    assert film(read_film(Modality=modality, SOPClassUID=CR)).declared_chest


@pytest.mark.parametrize("modality", sorted(OTHER_MODALITIES))
def test_other_modalities_rule_out(read_film: Any, modality: str) -> None:
    assert read_film(Modality=modality, SOPClassUID=CR).reason is Reason.NOT_A_RADIOGRAPH


def test_an_unknown_modality_leaves_it_to_the_class(read_film: Any) -> None:
    assert (
        read_film(Modality="SCAN", SOPClassUID="1.2.840.10008.5.1.4.1.1.2").reason is Reason.NOT_A_RADIOGRAPH
    )
    capture = read_film(Modality="XR", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", ConversionType="WSD")
    assert film(capture).declared_chest
