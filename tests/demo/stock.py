"""The demo drawn by the stock diffusers pipeline, for the scorer."""

from pathlib import Path

import torch
from diffusers import GlmImagePipeline
from PIL import Image


class StockPipeline:
    """`GlmImagePipeline` on a checkpoint in fp32, as `draw` and `draw_edit` callables for the scorer."""

    def __init__(self, model: Path, seed: int = 0, steps: int = 50) -> None:
        self.pipe = GlmImagePipeline.from_pretrained(model, torch_dtype=torch.float32)
        self.pipe.set_progress_bar_config(disable=True)
        self.seed, self.steps = seed, steps

    def draw(self, prompt: str, width: int = 256, height: int = 256) -> Image.Image:
        """Text to image, every picture with the same seed."""
        generator = torch.Generator().manual_seed(self.seed)
        picture: Image.Image = self.pipe(
            prompt, width=width, height=height, num_inference_steps=self.steps, generator=generator
        ).images[0]
        return picture

    def draw_edit(self, instruction: str, sources: list[Image.Image]) -> Image.Image:
        """An edit at the first source's size.

        The pipeline's own edit concatenates what transformers >= 5.18 returns as a list, so its AR half is done here
        and its decode half is given the tokens.
        """
        width, height = sources[0].size
        encoder = self.pipe.vision_language_encoder
        content = [*({"type": "image", "image": image} for image in sources), {"type": "text", "text": instruction}]
        inputs = self.pipe.processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"target_h": height, "target_w": width},
        )
        grids = inputs["image_grid_thw"][: len(sources)]
        with torch.no_grad():
            features = encoder.get_image_features(inputs["pixel_values"], grids).pooler_output
            codes = encoder.get_image_tokens(features, grids)
            torch.manual_seed(self.seed)
            new = height // 32 * (width // 32) + 1
            tokens = encoder.generate(**inputs, max_new_tokens=new, do_sample=True)[:, inputs["input_ids"].shape[1] :]
        target = self.pipe._upsample_token_ids(tokens[:, : new - 1], height // 32, width // 32)
        split = torch.split(codes, grids.prod(-1).tolist())
        prior = [
            self.pipe._upsample_token_ids(one, int(h), int(w)).squeeze(0)
            for one, (_, h, w) in zip(split, grids.tolist(), strict=True)
        ]
        picture: Image.Image = self.pipe(
            instruction,
            image=sources,
            width=width,
            height=height,
            num_inference_steps=self.steps,
            generator=torch.Generator().manual_seed(self.seed),
            prior_token_ids=target,
            prior_token_image_ids=[torch.cat(prior)],
            source_image_grid_thw=[grids * torch.tensor([1, 2, 2])],
        ).images[0]
        return picture
