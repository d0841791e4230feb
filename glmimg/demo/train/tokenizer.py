"""The demo's tokenizer and processor: the classes and special tokens of GLM-Image over a small byte-level BPE.

Ids below VISION_VOCAB are visual tokens (`<|dit_token_i|>`), as in the real checkpoint: first the codebook, then
start and end of image, then spares. The BPE is trained on captions, so their words are single tokens, and still
encodes any text byte by byte. Quoted words are left out of its training, so their capitals stay single tokens.
"""

import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, GlmImageImageProcessorPil, GlmImageProcessor, PreTrainedTokenizerFast

from glmimg.demo.train.captions import caption
from glmimg.demo.train.codebook import CODEBOOK_SIZE
from glmimg.demo.train.edits import FIRST_TASKS, random_edit
from glmimg.demo.train.sampling import random_scene

VISION_VOCAB = 4096
IMAGE_START, IMAGE_END = CODEBOOK_SIZE, CODEBOOK_SIZE + 1
WORD_PIECES = 768  # bytes and merges
SPECIALS = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'image' or item.get('image') is not none and 'image' in item %}{START}<|image|>{END}"
    "{% elif item['type'] == 'text' %}{{ item['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{% endfor %}"
)


def dit_token(code: int) -> str:
    """Name of a visual token in the tokenizer."""
    return f"<|dit_token_{code}|>"


def training_text(rows: int = 6000) -> list[str]:
    """Captions without words in quotes, edit instructions and grid sizes."""
    rng = random.Random(11)
    text = [caption(rng, random_scene(rng, pairs=0.4, words=0)) for _ in range(rows)]
    text += [random_edit(rng, tasks=FIRST_TASKS).instruction for _ in range(rows)]
    text += ["the word at the bottom, the text below, The word, The text" for _ in range(500)]
    text += [f"{h} {w}" for h in range(4, 33) for w in range(4, 33)] * 20
    return text


def build_bpe() -> Tokenizer:
    """A byte-level BPE whose ids start at VISION_VOCAB, with the visual tokens below and the special ones above."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=WORD_PIECES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    learned.train_from_iterator(training_text(), trainer)
    pieces = sorted(learned.get_vocab().items(), key=lambda item: item[1])
    vocab = {dit_token(i): i for i in range(VISION_VOCAB)}
    vocab.update({piece: VISION_VOCAB + i for i, (piece, _) in enumerate(pieces)})
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=_merges_of(learned)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return [(left, right) for left, right in pairs]


def build_processor() -> GlmImageProcessor:
    """The processor: pads on the left with end-of-image, and keeps sources between 256 and 512 px a side."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=build_bpe(),
        bos_token=dit_token(IMAGE_START),
        eos_token=dit_token(IMAGE_END),
        pad_token=dit_token(IMAGE_END),
        additional_special_tokens=list(SPECIALS),
        extra_special_tokens={"image_token": "<|image|>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"},
        padding_side="left",
        model_max_length=65536,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    images = GlmImageImageProcessorPil(
        min_pixels=256 * 256,
        max_pixels=512 * 512,
        patch_size=16,
        temporal_patch_size=1,
        merge_size=1,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    template = CHAT_TEMPLATE.replace("{START}", dit_token(IMAGE_START)).replace("{END}", dit_token(IMAGE_END))
    return GlmImageProcessor(image_processor=images, tokenizer=tokenizer, chat_template=template)


def build_glyph_tokenizer() -> ByT5Tokenizer:
    """ByT5's own byte tokenizer."""
    return ByT5Tokenizer()


def save_tokenizers(model: Path) -> None:
    """Write the processor's and the glyph tokenizer's folders."""
    build_processor().save_pretrained(model / "processor")
    build_glyph_tokenizer().save_pretrained(model / "tokenizer")
