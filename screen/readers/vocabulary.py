"""What archives write for body parts, views and modalities: the one table of words and codes.

A header may rule a film out only by what stands here as something else. What is not here says nothing.

An entry is a whole word, `word*` the beginning of one, `*word*` anything that contains it; several words are
joined by `_`. Entries are written as their language spells them; `screen.readers.words` makes one spelling of
them and of what a header says. Chinese, Japanese, Korean and Thai write words together, so theirs are mostly
`*word*`.
"""

from enum import Enum, auto


class Part(Enum):
    """What a body part means for a chest film."""

    CHEST = auto()
    VAGUE = auto()
    """A part whose films show the chest as well."""
    OTHER = auto()
    NONE = auto()
    """Looks like a part and is none: of a position, an operation, a device."""


class View(Enum):
    """From where the film was taken."""

    FRONTAL = auto()
    LATERAL = auto()
    OBLIQUE = auto()
    DECUBITUS = auto()
    """The patient lies on the side, the beam goes from front to back: frontal as well."""


_CHEST = """
    *chest* chst cxr pcxr thx *thorax* *torax* *toraks* *thoraks* torace hemithorac* hemitorac* lung lungs
    lunge lungen
    lungo lungor lunger lungene lungfield* lungenaufnahme* pulmo pulmon pulmones pulmonar* pulmonal*
    pulmonary
    pulmonaire* rib ribs ribcage rib_cage heart hearts cardiac cardio cardiaque cardiaco mediastin* bronch*
    thoracic_cavity thoracic_cage
    pleura* pulmo* costae costal*
    brustkorb* brustraum* herz herzlunge* rippe rippen
    poitrine* poumon* cage_thor* gril_costal cœur côte côtes
    pecho pulmón caja_torácica cavidad_torácica parrilla_costal corazón costilla*
    bettlunge* telecuore telecuor* peito pulmão pulmões caixa_torácica coração costela* tórax toráx tòrax
    petto polmone polmoni polmonare gabbia_toracica cuore costa coste costole
    borstkas* borstholte* longfoto* longen ribben ribbenkast* hart
    klatka* klatki* klp kl_p płuco płuca płuc żebro żebra żeber serce
    hrudník* hrudní_koš plíce plic žebro žebra srdce pľúca hrudný_kôš
    bröstkorg* lungröntgen* revben* hjärta brystkasse* brystkasse hjerte
    rintakehä* keuhko* kylkiluu*
    göğüs* akciğer* kaburga* kalp
    mellkas* tüdő* borda bordák
    cutia_toracică plămân* coaste inimă
    grudni_koš prsni_koš pluća pljuča rebra
    грудная_клетк* грудной_клетк* грудна_клітк* клетка клетки грудь грудная_полост* огк орган_грудн*
    легкие лёгкие лёгких легкое легені торакс* флюорограф* ребра рёбра ребер сердце
    гръден_кош бели_дробове бял_дроб грудни_кош плућа
    θώρακας θώρακα θώρακος θώραξ πνεύμονας πνεύμονες πνευμόνων πλευρές πλευρά καρδιά
    *胸部* *胸片* *胸正* *胸廓* *胸郭* *胸腔* *胸* *肺* *肋骨* *心臓* *心脏* *心臟*
    *흉부* *가슴* *흉곽* 폐* *늑골* *갈비뼈* *심장*
    صدر الصدر رئة الرئة رئتين الرئتين قفسه_سینه ریه חזה ריאות
    छाती *ทรวงอก* *หน้าอก* *ปอด* ngực phổi lồng_ngực dada paru paru_paru
"""
_VAGUE = """
    body wholebody fullbody wholebod* trunk torso sternum sternal clavicle clavicles clavicul* collarbone
    breast_bone breastbone sternoclavicul*
    scjoint babygram trunco tronco tronc rumpf ganzkörper* körper brustbein* schlüsselbein* klavikula*
    clavícula*
    esternón esterno sterno corps corpo cuerpo klawikul* obojczyk* mostek klíční* hrudní_kost nyckelben*
    bröstben*
    kravebein* kragebein* thoracoabdom* toracoabdom* thorako* oesoph* esoph* esófago* ösophag* trachea*
    luftröhre* abdominothor* abdominotor*
    traquea* thymus diaphragm* diafragma* zwerchfell* brust borst bröst bryst pierś piersi
    *全身* *躯干* *軀幹* *体幹* *鎖骨*
    *锁骨* *胸骨* *胸腺* *전신* *쇄골* *흉골*
    грудина ключиц* туловищ* тулуб* тело στέρνο κλείδα
"""
_NONE = """
    c_arm de_face de_pie en_pie pie_de_cama de_pé em_pé head_up head_of_bed head_first feet_first arms_up
    *手術* *手术*
"""
# PS3.16 Annex L first, as it spells them; then words.
_OTHER = """
    abdomenpelvis acjoint adrenal ankle anus arm armpit
    biliarytract bladder brain breast buttock calcaneus calf carotid cerebellum cervix cheek choroidplexus
    circleofwillis
    coccyx colon cornea cspine ctspine duodenum ear elbow extremity eye eyelid face fallopiantube femur
    fibula finger
    foot forearm gallbladder gluteal hand head headneck hip humerus iac ileum ilium inguinal jaw jejunum
    kidney knee
    larynx leg liver lowerleg lowerlimb lspine lsspine lumbar mandible mastoid maxilla metacarpus metatarsus
    mouth
    neck nose occipital opticcanal orbit ovary pancreas parathyroid parotid patella pelvis
    pelviclowerextremit* penis
    perineum pharynx prostate rectum sacrum scalp scapula scrotum sella scspine sesamoid shoulder
    sijoint skull spine spleen sspine stomach submandibular symphysis tarsus testis thigh thumb thyroid tibia
    tlspine tmj tmjoint toe tongue tspine upperarm upperlimb upperurinarytract ureter urethra urinary
    uterus vagina vulva wrist zygoma
    abd abdo abdom* kub ankles breasts mammo* elbows ears extremit* eyes facial faces femora femurs fingers
    feet
    footankle forearms hands heads hips hipjoint* headbrain jaws kidneys knees kneejoint* kneecap legs
    lowerext*
    upperext* necks necksoft* noses orbits pelvic pelvi* radius radiusulna ulna tibiafibula tibfib tib fib
    femoral
    humeral carpal carpus tarsal metacarp* metatars* phalan* scaphoid scaphoideum heel heels os_calcis shin
    shoulders
    scapulas scapulae skulls sinus sinuses paranasal* spines spinal vertebra* cervical cervico* lumb*
    lumbosacr*
    thoracolumb* toracolumb* sacral sacroil* coccy* acromi* glenohumer* olecranon teeth tooth dental
    dentition
    panoram* toes thumbs thighs wrists wristhand cranium cranial crani* backbone bowel intestin* buttocks
    urograph* cystogra* nasalbone* nasalbones nasal mandib* maxill* tmjs zygomat* calcan* patell* malleol*
    talus
    fuß füße fuss fuesse sprunggelenk* knöchel ferse* fersenbein* vorfuß* mittelfuß* zehe zehen großzehe*
    unterschenkel* oberschenkel* schienbein* wadenbein* knie knies kniegelenk* kniescheibe* hüfte hüften
    hüftgelenk*
    becken beckenübersicht* iliosakral* kreuzbein* steißbein* wirbelsäule* wirbel wirbelkörper* halswirbel*
    brustwirbel* lendenwirbel* hws bws lws bwk lwk hwk bauch bauchraum* leber niere nieren blase harnblase
    kopf schädel*
    gesicht* kiefer oberkiefer* unterkiefer* zahn zähne nase nasenbein* nnh nasennebenhöhle* auge augen ohr
    hals
    halsweich* schulter schultern schultergelenk* schulterblatt* achselhöhle oberarm* unterarm* ellbogen*
    ellenbogen*
    handgelenk* handwurzel* mittelhand* daumen hände haende bein beine arme extremität* gehirn
    pied pieds cheville* genou genoux jambe jambes cuisse* hanche* bassin fémur main mains poignet* coude
    coudes
    bras avantbras avant_bras épaule épaules omoplate* crâne tête têtes cou nuque visage* mâchoire* nez
    asp dent dents doigt doigts pouce orteil orteils talon rachis* colonne* vertèbre* lombaire* ventre foie
    rein
    reins
    sein seins membre_supér* membre_infér*
    pie pies tobillo* rodilla* pierna* muslo* cadera* mano manos muñeca* codo codos brazo brazos antebrazo*
    hombro*
    escápula* omóplato* cráneo* cabeza cuello cara mandíbula* diente* nariz ojo ojos oído dedo dedos pulgar*
    talón
    columna* vértebra* cervical* vientre* hígado riñón riñones mama mamas seno senos húmero* peroné
    extremidad* sacro* cóccix
    pés tornozelo* joelho* perna pernas coxa coxas quadril* bacia mão mãos punho punhos cotovelo* braço
    braços
    antebraço* ombro ombros crânio* cabeça pescoço* dente* olho olhos calcanhar* coluna* barriga abdominal*
    fígado rins
    piede piedi caviglia* caviglie ginocchio* ginocchia gamba gambe coscia cosce anca anche bacino* polso
    polsi
    gomito* gomiti braccio braccia avambraccio* spalla* spalle scapola* cranio* testa collo viso faccia
    mandibola* naso
    denti dito dita pollice* alluce* tallone* calcagno* colonna* rachide* vertebr* addome* addominale* fegato
    reni mammella* mammelle femore omero* rotula* sacro
    voet voeten enkel enkels benen onderbeen* bovenbeen* heup heupen bekken* pols polsen elleboog* onderarm*
    bovenarm* schouder* schedel* hoofd nek gezicht* kaak tand tanden neus oog oren vinger* duim tenen hiel
    wervelkolom* wervel wervels halswervel* borstwervel* lendenwervel* cwk twk buik buikoverzicht* lever nier
    stopa stopy stóp kostka kostki staw_skokow* zatoki kolano kolana staw_kolan* podudzie* udo uda biodro
    biodra bioder miednic*
    dłoń ręka ręki ręce nadgarst* łokieć łokcia przedrami* ramię bark barku łopatk* czaszk* głowa głowy szyja
    szyi
    twarz żuchw* zęby palec palce kciuk pięta kręgosłup* kręg* krzyżow* brzuch* jama_brzusz* wątrob* nerk*
    noha nohy nohou kotník* hlezn* koleno kolena kolenn* bérec bérce lýtko stehno* stehenn* kyčel* kyčle
    pánev pánv*
    ruka ruky zápěst* loket lokte předlokt* paže rameno ramena lopatk* lebk* hlava hlavy krk obličej* čelist*
    zub
    zuby oko ucho prst prsty páteř* obratl* bederní břich* játra ledvin* brucho panva chrbtic* lakeť
    členok predlaktie
    fot fötter fotled* ankel underben* lårben* knä knän knäled* höft höfter höftled* bäcken* händer handled*
    armbåge* underarm överarm* axel axlar axelled* skulderblad* skalle huvud* ansikte* käke tänder näsa öga
    tumme ryggrad* kotpelar* halsrygg* bröstrygg* ländrygg* kotrygg* buk buköversikt* njure njurar
    fod fødder knæ knæled* hofte* bækken* hånd hænder håndled* albue* skulder* overarm* kranie* hoved hode
    nakke
    kæbe tænder tommel* tæer rygsøjle* ryggsøyle* columna lænde* lænderyg* brystryg* halsryg* mave underliv
    ankelled* bekken håndledd* kne kneledd* hofteledd* føtter mage nyre nyrer
    jalka jalat nilkka* polvi polvet sääri reisi lonkka* lantio* käsi kädet ranne kyynärpää* olkapää*
    olkavarsi*
    kallo kaula selkäranka* kaularanka* rintaranka* lanneranka* vatsa leuka hammas sormi varvas
    lomber* servikal* ayak* diz dizler bacak* uyluk* kalça* leğen_kemi* elbileği* el_bileği* ayak_bileği*
    dirsek* omuz*
    kafatası* kafa
    boyun* yüz çene burun göz parmak* omurga* vertebra karın* böbrek* karaciğer* önkol*
    boka térd térdek csípő* medence* kéz csukló* könyök* váll koponya* fej nyak gerinc* nyakigerinc*
    ágyékigerinc* hátigerinc* hasi ujj
    picior picioare gleznă* genunchi* gambă șold* mână mâini încheietur* coate braț umăr umeri craniu* gât
    coloană* burtă deget*
    stopalo gležanj koljeno kuk kukovi zdjelic* karlic* šaka ručni_zglob lakat rame glava vrat kralježnic*
    kičm*
    hrbtenic* trbuh* zapestje komolec
    стопа стопы голеностоп* лодыжк* колено колена колен* коленн* голень голени бедро бедра бедренн*
    тазобедрен* таз таза
    кисть кисти запястье лучезапяст* локоть локтев* предплеч* плечо плеча плечев* лопатк* череп* голова
    головы шея шеи
    лицо челюст* нос ппн пазух* придаточн* зуб зубы палец пальцы пальца пятка пяточн* позвоночн* позвонк*
    поясничн* шейн*
    крестец крестцов* копчик* живот* брюшн* печень почк* молочн* коліно череп кульшов* хребет* хребт* черево
    рука нога
    ступня глава гръбнак* китка рамо
    πόδι πόδια άκρο_πόδι ποδοκνημικ* αστράγαλος γόνατο γόνατα κνήμη μηρός ισχίο ισχία λεκάνη χέρι χέρια
    άκρα_χείρα καρπός
    αγκώνας αντιβράχιο βραχίονας ώμος ώμου ωμοπλάτη κρανίο κεφάλι κεφαλή αυχένας αυχενικ* ομσσ αμσσ θμσσ
    λαιμός πρόσωπο γνάθος μύτη
    δόντια
    δάκτυλο δάχτυλο πτέρνα σπονδυλικ* σπόνδυλ* οσφυικ* κοιλιά κοιλίας κοιλιακ* ήπαρ νεφρ* μαστός μαστού
    *頭部* *头部* *头颅* *頭蓋* *颅* *顱* *脳* *脑* *腦* *顔面* *颜面* *面骨* *顎* *颌* *颚* *歯* *牙* *齿*
    *齒* *副鼻腔* *鼻窦* *鼻竇* *鼻骨*
    *眼* *耳* *頸* *颈* *頚* *喉* *咽* *甲状腺* *肩* *上腕* *肱骨* *肘* *前腕* *前臂* *尺骨* *桡骨* *橈骨*
    *手関節* *手首* *腕关节*
    *腕關節* *拇* *骨盤* *骨盆* *股関節* *髋* *髖* *臀* *大腿* *股骨* *膝* *髌* *下腿* *小腿* *胫* *脛*
    *腓骨* *踝* *踵* *跟骨* *趾*
    *脚* *腿* *脊柱* *脊椎* *颈椎* *頸椎* *頚椎* *胸椎* *腰椎* *腰* *骶* *仙骨* *仙椎* *尾骨* *尾椎* *椎*
    *肝* *腎* *肾* *膀胱* *子宮* *子宫*
    *四肢* *上肢* *下肢* *肩甲骨* *肩胛*
    *머리* *두부* *두개골* *얼굴* *안면* *치아* *부비동* *코뼈* *경부* *갑상선* *어깨* *견관절* *상완*
    *팔꿈치* *주관절*
    *전완* *손목* *손가락* *골반* *고관절* *엉덩이* *대퇴* *무릎* *슬관절* *하퇴* *발목* *족관절* *발가락*
    *척추* *경추* *흉추* *요추*
    *천추* *미추* *허리* *복부* *유방* *상지* *하지*
    قدم القدم كاحل الكاحل ركبة الركبة ساق الساق فخذ ورك الورك حوض الحوض يد اليد معصم الرسغ مرفق الكوع ذراع
    كتف الكتف
    جمجمة الجمجمة رأس الرأس رقبة الرقبة بطن البطن العمود_الفقري زانو شکم لگن شانه دست پا
    ברך כתף קרסול אגן ירך מרפק גולגולת ראש צוואר בטן יד רגל עמוד_שדרה
    *ศีรษะ* *กะโหลก* *ข้อเท้า* *เข่า* *สะโพก* *ข้อมือ* *ข้อศอก* *ไหล่* *กระดูกสันหลัง* *เชิงกราน*
    घुटना हाथ पैर सिर पेट कंधा
    bàn_chân cổ_chân đầu_gối khớp_gối khớp_háng bàn_tay cổ_tay khuỷu* khớp_vai sọ_não cột_sống* bụng
    kaki lutut pinggul tangan siku bahu tengkorak kepala leher perut tulang_belakang
    *头骨* *頭頸* *手指* *手掌* *手部* *手骨* *双手* *左手* *右手* 手 *足部* *足関節* *足趾* *双足* *左足*
    *右足* 足 *腹部* *腹腔* *腹平* *乳房*
    *乳腺* *鼻部* *鼻咽* *胃部* 손 발 목 뇌 턱 *양손* *양발* arms *ช่องท้อง* *ฝ่าเท้า*
"""

_FRONTAL = """
    pa ap apa p_a a_p dp front frente frentes fronte vorne
    frontal frontale frontaux face de_face postero_anterior* posteroanterior*
    antero_posterior* anteroposterior* dorsovent* ventrodors* ventro_dors* dorso_vent* sagittal_pa vd dv
    frontaal прямая прям* передн* 正面 *正面* *正位* *후전* *전후* *정면*
    *正侧* *正側* *정측*
"""
_LATERAL = """
    ll rl lat lats llat rlat ltlat rtlat latl latr latlt latrt lateral laterals laterale lateraal lateralis
    lateralt
    lateralna lateralny lateralne lateralni lateralno laterales laterali lateraux latéraux lateralmente
    llateral
    rlateral lateralansicht* lateralaufnahme* laterallung* lateralview latview latero latero_lateral*
    laterolateral*
    mediolateral* lateromedial* crosstable*
    seit seitl seitlich* seitenaufnahme* seitenansicht* seitenbild* seitbild* seitaufnahme* querstrahl*
    profil* de_profil perfil perfiles profilo
    zijdelings* zijaanzicht* zijopname* zijwaarts* zijfoto*
    boczna boczne boczny bocznie boczn* z_boku bok bočn*
    sida sidobild* sidovy* sidoprojektion* från_sidan sidebill* sidebild* sideopt* fra_siden
    sivukuva* sivusta sivu lateraali* sivuprojekt*
    yan yan_grafi yandan oldal* oldalirányú laterální*
    боков* бічн* профил* латеральн* странич*
    πλάγια πλάγιο πλαγι* προφίλ
    *側面* *侧面* *侧位* *側位* *측면* *측방* *側方*
    جانبي جانبية الجانبي פרופיל צד *ด้านข้าง* nghiêng samping
"""
_OBLIQUE = """
    lao rao lpo rpo llo rlo obl obliq oblique obliques obliqu* oblic* obliqua oblikv* oblik* schräg* schuin*
    skośn* šikm*
    sned sneda snedprojekt* skrå skrå* ferde кос косая косой косо λοξή λοξ* *斜位* *斜*
"""
_DECUBITUS = """
    decub* decúb* dec decu right_lateral_de left_lateral_de cubitus laterocubitus* yan_yat*
    lld rld dekub* декубит* *側臥位* *侧卧位* *側臥* *侧卧*
"""

RADIOGRAPHS = frozenset({"CR", "DX", "RG", "DR", "XR", "RX", "XRAY", "RTG", "CRDX", "DXCR"})
"""Modalities that mean a radiograph: the standard's, and what writers put there (PS3.3 C.7.3.1.1.1)."""
CAPTURES = frozenset({"OT", "SC"})
"""Modalities that mean that something was captured, whatever it is."""
_OTHER_MODALITIES = """
    ANN AR ARCHIVE ASMT AU BDUS BI BMD CFM CT CTPROTOCOL DG DMS DOC ECG EEG EMG EOG EPS ES FID GM HC HD IO
    IOL IVOCT IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS PA PLAN POS PR PT
    PX REG RESP RF RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF
    STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
    AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS ST VF
"""
OTHER_MODALITIES = frozenset(_OTHER_MODALITIES.split())
"""The standard's other modalities; those in the last line are retired."""

# SNOMED CT, and the SRT codes that came before: PS3.16 CID 4031, which CID 4009 includes.
_CHEST_CODES = """
    816094009 51185008 T-D3000 39607008 T-28000 86598002 T-280A0 113197003 T-11300 80891009 T-32000 72410000
    T-D3300 416550000 R-FAB55 416775004 R-FAB56 417437006 R-FAB52 416152001 R-FAB53 416319003 R-FAB54 955009
    T-26000 43799004 T-D3200
"""
CHEST_REGIONS = frozenset(_CHEST_CODES.split())
_OTHER_CODES = """
    818981001 113345001 T-D4000 818982008 R-FAB57 85856004 T-15420 23451007 T-B3000 70258002 T-15750 53505006
    T-59900 110612005 T-59490 28273000 T-60610 34707002 T-60600 89837001 T-74000 110837003 T-DD123 72001000
    T-12700 371195002 T-D0821 12738006 T-A0100 76752008 T-04000 46862004 T-D2600 80144004 T-12770 113305005
    T-A6000 122494005 T-11501 1217257000 71252005 T-83200 60819002 T-D1206 64688005 T-11BF0 71854001 T-59300
    79741001 T-64500 38848004 T-58200 117590005 T-AB001 16953009 T-15430 84301002 T-AB200 66019005 T-D0300
    81745001 T-AA000 371398005 T-D0801 80243003 T-AA810 89545001 T-D1200 91397008 T-11196 71341001 T-12710
    87342007 T-12750 7569003 T-D8800 79361005 T-15200 56459004 T-D9700 14975008 T-D8500 28231008 T-63000
    85562004 T-D8700 69536005 T-D1100 774007 T-D1000 29836001 T-D2500 24136001 T-15710 85050009 T-12410
    34516001 T-58600 22356005 T-12340 26893007 T-D7000 361078006 T-AB959 661005 T-D1213 21306003 T-58400
    39352004 T-15001 64033007 T-71000 72696002 T-D9200 14742008 T-59000 4596009 T-24100 10200004 T-62000
    303270005 T-50007 30021000 T-D9400 61685007 T-D9000 52612000 T-D2300 122496007 T-11503 1217253001 91609006
    T-11180 59066005 T-11133 70925003 T-11170 123851003 T-D0662 102292000 T-14668 30608006 T-13600 74386004
    T-11149 45048000 T-D1600 45206002 T-21000 55024004 T-11102 363654007 T-D14AE 15497006 T-87000 15776009
    T-65000 69930009 T-65010 110621006 T-65600 2095001 T-22000 45289007 T-61100 64234005 T-12730 12921003
    T-D6000 816092008 1231522001 18911002 T-91000 38864007 T-D2700 706342009 R-FE0C7 41216001 T-92000 34402009
    T-59600 1217254007 39723000 T-15680 54735007 T-11AD0 41695006 T-D1160 79601000 T-12280 20233005 T-98000
    42575006 T-D1460 58742003 T-12980 16982005 T-D2220 89546000 T-11100 30315005 T-58000 421060004 T-D04FF
    416949008 78961009 T-C3000 69695003 T-57000 54019009 T-61300 27949001 T-15770 53620006 T-15290
    40689003 T-94000 68367000 T-D9100 122495006 T-11502 1217256009 76505004 T-D8810 69748006 T-B6000 29707007
    T-D9800 21974007 T-53000 40983000 T-D8200 53120007 T-D8000 431491007 T-7000B 87953007 T-73000 13648007
    T-75000 35039007 T-83000 110639002 T-88920 110517009 T-11011 45292006 T-81000 74670003 T-15460 13881006
    T-11166
"""
OTHER_REGIONS = frozenset(_OTHER_CODES.split())

# PS3.16 CID 4010, as above.
_VIEW_CODES = {
    "PA": "272479007 R-10214",
    "AP": "399348003 R-10206",
    "LL": "399173006 R-10236",
    "RL": "399198007 R-10232",
    "LATERAL": "399067008 R-102CD 399352003 R-10228 399260004 R-10224 30730003 G-A145",
    "OBLIQUE": """
        399182000 R-102C1 399312000 R-10208 399160007 R-10204 399059000 R-10216 399135007 R-10220 399006002
        R-10212 399356000 R-40985 399038007 R-10210 399184004 R-10238 399236003 R-10234 260427002 R-40783
        260426006 R-40782 399099002 R-10230 399368009 R-10226
    """,
}
VIEW_CODES = {code: view for view, codes in _VIEW_CODES.items() for code in codes.split()}
"""Code value -> the word for it."""

PARTS: dict[Part, tuple[str, ...]] = {
    Part.CHEST: tuple(_CHEST.split()),
    Part.VAGUE: tuple(_VAGUE.split()),
    Part.OTHER: tuple(_OTHER.split()),
    Part.NONE: tuple(_NONE.split()),
}
"""The entries for body parts."""
VIEWS: dict[View, tuple[str, ...]] = {
    View.FRONTAL: tuple(_FRONTAL.split()),
    View.LATERAL: tuple(_LATERAL.split()),
    View.OBLIQUE: tuple(_OBLIQUE.split()),
    View.DECUBITUS: tuple(_DECUBITUS.split()),
}
"""The entries for views."""
