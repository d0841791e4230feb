"""The words of the demo's world, as `world.json` beside its weights keeps them for `glmimg.cli.world`."""

import json
import random
import re
from pathlib import Path

from glmimg.demo.train.captions import caption
from glmimg.demo.train.edits import random_edit
from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import LETTERS, MAX_WORD
from glmimg.demo.train.speech import HELD_OUT_REQUESTS, random_speech

NOTE = "the demo draws flat shapes in ten colours and words of up to six capital letters"
EXAMPLE = "a red circle on the left on a blue background"
WORD = r"[^\W\d_]+"
SMALL_WORDS = """
    about after again all also am another any are around as because been being both but by did do does each else ever
    few from had has hello here hey how if into is isn it its just kind kindly ll looks lot many maybe me mine more most
    much my need no not now of off ok okay only onto or other our out per perhaps quite rather really same shall should
    simply single so some something sort such than thank thanks that their them then these they thing things this those
    though to too try up us use using very want was way we were what where which while who will within without would
    yes you your color colors coloured colored colour colours drawing image picture shape shapes word text letters letter
"""
"""What people say around what they ask for."""


def words_of_the_world(rows: int = 3000) -> list[str]:
    """Every word of the training's captions and edits but those in quotes, and SMALL_WORDS, sorted."""
    rng = random.Random(0)
    texts = [caption(rng, random_scene(rng, pairs=0.4, words=0)) for _ in range(rows)]
    for way in ("unsaid", "spatial", "chatty"):
        texts += [random_speech(rng, way=way).text for _ in range(rows // 2)]
    texts += [random_edit(rng).instruction for _ in range(rows)]
    texts += [*HELD_OUT_REQUESTS, SMALL_WORDS, "word text written row middle bottom top"]
    return sorted({word.lower() for text in texts for word in re.findall(WORD, text)})


def save_world(model: Path) -> None:
    """Write `world.json` into a checkpoint folder."""
    world = {
        "note": NOTE,
        "example": EXAMPLE,
        "letters": LETTERS,
        "longest": MAX_WORD,
        "words": " ".join(words_of_the_world()),
    }
    (model / "world.json").write_text(json.dumps(world, indent=1) + "\n")
