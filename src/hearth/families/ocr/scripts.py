"""Which scripts an alphabet can write, and which one a line is written in.

Scripts go by their names in Unicode (property Script).
"""

from collections.abc import Iterable, Mapping

import numpy as np

from hearth.backends import Array, Session
from hearth.errors import ModelUnavailable
from hearth.families.ocr.outputs import run_one

COMMON = "Common"
"""The classifier's word for what has no letters, or can't be told: figures, scribbles."""

_ENOUGH = 0.9
"""Share of a script's basic letters that an alphabet needs to write it. PP-OCRv6 has the
24 letters of Greek as mathematics uses them, and none that has an accent: 0.75."""

_LETTERS: Mapping[str, str] = {
    "Latin": "abcdefghijklmnopqrstuvwxyz",
    "Han": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之",
    "Hiragana": "あいうえおかきくけこさしすせそたちつてとなにぬねの"
    "はひふへほまみむめもやゆよらりるれろわをん",
    "Katakana": "アイウエオカキクケコサシスセソタチツテトナニヌネノ"
    "ハヒフヘホマミムメモヤユヨラリルレロワヲン",
    "Hangul": "이다는에의가을고하지로한은를기사도자나시어리대그서인정일있아수해전부만보들게여원",
    "Cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώ",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "Hebrew": "אבגדהוזחטיכךלמםנןסעפףצץקרשת",
    "Thai": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศษสหอะาเแโใไ",
    "Devanagari": "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "Bengali": "অআইঈউঊএঐওঔকখগঘচছজঝটঠডঢণতথদধনপফবভমযরলশষসহ",
    "Gujarati": "અઆઇઈઉઊએઐઓઔકખગઘચછજઝટઠડઢણતથદધનપફબભમયરલવશષસહ",
    "Gurmukhi": "ਅਆਇਈਉਊਏਐਓਔਕਖਗਘਚਛਜਝਟਠਡਢਣਤਥਦਧਨਪਫਬਭਮਯਰਲਵਸਹ",
    "Tamil": "அஆஇஈஉஊஎஏஐஒஓகஙசஞடணதநபமயரலவழளறன",
    "Telugu": "అఆఇఈఉఊఎఏఐఒఓకఖగఘచఛజఝటఠడఢణతథదధనపఫబభమయరలవశషసహ",
    "Kannada": "ಅಆಇಈಉಊಎಏಐಒಓಕಖಗಘಚಛಜಝಟಠಡಢಣತಥದಧನಪಫಬಭಮಯರಲವಶಷಸಹ",
    "Malayalam": "അആഇഈഉഊഎഏഐഒഓകഖഗഘചഛജഝടഠഡഢണതഥദധനപഫബഭമയരലവശഷസഹ",
    "Sinhala": "අආඉඊඋඌඑඒඔඕකගචජටඩණතදනපබමයරලවශෂසහ",
    "Georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "Armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "Khmer": "កខគឃងចឆជឈញដឋឌឍណតថទធនបផពភមយរលវសហឡអ",
    "Lao": "ກຂຄງຈສຊຍດຕຖທນບປຜຝພຟມຢຣລວຫອຮ",
    "Myanmar": "ကခဂဃငစဆဇဈညဋဌဍဎဏတထဒဓနပဖဗဘမယရလဝသဟဠအ",
    "Ethiopic": "ሀለሐመሠረሰቀበተኀነአከወዐዘየደገጠጰጸፀፈፐ",
}
"""Letters by script that no text can do without; small ones, where there are two cases."""

_LEAST_WIDTH = 320
"""Pixels that a line had at least, its padding included, when the classifier was trained."""

_OF_CLASSIFIER: Mapping[str, str] = {"Kana": "Hiragana"}
"""Classes of the classifier that go by another name: it takes both kinds of kana for one."""


def scripts_of(alphabet: Iterable[str]) -> tuple[str, ...]:
    """Find the scripts that can be written with an alphabet, a list of characters.

    A few letters of a script, as signs of mathematics or units, don't make it one of them.
    """
    letters = {letter for character in alphabet for letter in character.lower()}
    return tuple(
        script
        for script, basic in _LETTERS.items()
        if len(letters & set(basic)) >= _ENOUGH * len(basic)
    )


def stray_share(text: str, scripts: Iterable[str]) -> float:
    """Measure the share of a text's letters that are of other scripts than these: 0 to 1.

    One or two are none: a sign of mathematics or a unit.
    """
    letters = [letter for letter in text.lower() if letter.isalpha()]
    others = _LETTERS.keys() - set(scripts)
    strays = sum(any(letter in _LETTERS[script] for script in others) for letter in letters)
    return strays / len(letters) if strays > 2 else 0.0


class ScriptClassifier:
    """Lines to the scripts they are written in; ``session`` is over ``assets/scripts.onnx``.

    See ``tools/train_scripts.py`` for what it was trained and measured on. It takes half a
    percent of what recognition takes. Raises ModelUnavailable where the graph lacks its names.
    """

    def __init__(self, session: Session) -> None:
        names = session.metadata.get("scripts", "").split()
        if COMMON not in names:
            raise ModelUnavailable("the script classifier carries no names of scripts")
        self._session = session
        self._scripts = tuple(_OF_CLASSIFIER.get(name, name) for name in names)

    def __call__(self, batch: Array) -> Array:
        """Return for each line and script the share of the line's letters: float32 (n, scripts).

        ``batch`` is what recognition takes: float32 (n, 3, 48, width).
        """
        missing = _LEAST_WIDTH - batch.shape[3]
        if missing > 0:
            batch = np.pad(batch, ((0, 0), (0, 0), (0, 0), (0, missing)))
        return run_one(self._session, batch)

    def writable(self, scripts: Iterable[str]) -> Array:
        """Tell which columns of an answer are scripts among these, or need none: bool (scripts)."""
        wanted = {COMMON, *scripts}
        return np.array([script in wanted for script in self._scripts])
