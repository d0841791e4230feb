"""Pictures as OpenAI's own client asks for them, and as others really do."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.http.serving import PATIENCE_SECONDS, get, post, serve_model

Glmimg = Callable[..., Outcome]
QUICK = {"steps": 1, "seed": 3}


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    with serve_model(tiny) as address:
        yield address


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def draw(client: openai.OpenAI, prompt: str = "a red circle", *, knobs: dict[str, Any] = QUICK, **asked: Any) -> Any:
    return client.images.generate(**{"prompt": prompt, "size": "64x64", "extra_body": knobs, **asked})


def picture(datum: Any) -> bytes:
    return base64.b64decode(datum["b64_json"] if isinstance(datum, dict) else datum.b64_json)


def pixels(data: bytes | Path) -> tuple[tuple[int, int], bytes]:
    image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    return image.size, image.tobytes()


def png(colour: str, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_seed_gives_the_very_file_of_t2i(client: openai.OpenAI, glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "cli.png"
    given = ["--seed", "3", "--steps", "1", "-s", "64x64", "-o", out]
    assert glmimg("t2i", "a red circle", "-m", tiny, *given).status == 0
    assert picture(draw(client).data[0]) == out.read_bytes()


def test_many_clients_at_once_get_their_own(client: openai.OpenAI) -> None:
    alone = {seed: picture(draw(client, knobs={**QUICK, "seed": seed}).data[0]) for seed in range(8)}
    assert len(set(alone.values())) == 8
    asked = [seed for seed in range(8) for _ in range(3)]
    with ThreadPoolExecutor(12) as threads:
        drawn = threads.map(lambda seed: draw(client, knobs={**QUICK, "seed": seed}).data[0], asked)
        assert [picture(each) for each in drawn] == [alone[seed] for seed in asked]


def test_several_pictures_have_seeds_that_count_on(client: openai.OpenAI) -> None:
    answer = draw(client, n=3, response_format="b64_json", model="dall-e-3", quality="hd", style="vivid", user="me")
    assert [each.seed for each in answer.data] == [3, 4, 5]
    assert picture(answer.data[1]) == picture(draw(client, knobs={**QUICK, "seed": 4}).data[0])


@pytest.mark.parametrize(
    ("size", "drawn"),
    [("96x64", "96x64"), ("100x70", "96x64"), ("auto", "128x128"), (None, "128x128"), ("", "128x128")],
)
def test_sizes_are_exact_or_the_nearest(address: str, size: str | None, drawn: str) -> None:
    body = {"prompt": "a", "size": size, "n": "1", "response_format": None, **QUICK}
    answer = post(f"{address}/v1/images/generations", json=body).json()
    width, height = map(int, drawn.split("x"))
    assert (answer["size"], pixels(picture(answer["data"][0]))[0]) == (drawn, (width, height))


def test_a_picture_by_its_address_and_in_another_format(client: openai.OpenAI) -> None:
    url = draw(client, response_format="url", output_format="webp", output_compression=80).data[0].url
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(answer.read())).format == "WEBP"


def test_a_preview_comes_before_the_picture(client: openai.OpenAI) -> None:
    events = list(draw(client, stream=True, partial_images=2))
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert pixels(picture(events[0]))[0] == (512, 512)
    assert picture(events[1]) == picture(draw(client).data[0])
    assert [event.type for event in draw(client, stream=True)] == ["image_generation.completed"]


def test_sources_keep_their_order(client: openai.OpenAI, glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    red, blue = png("red"), png("blue")
    drawn = {}
    for name, sources in {"rb": [red, blue], "br": [blue, red]}.items():
        files = [(f"{number}.png", data) for number, data in enumerate(sources)]
        answer = client.images.edit(image=files, prompt="both", size="64x64", extra_body=QUICK)  # type: ignore[call-overload]
        drawn[name] = pixels(picture(answer.data[0]))
    (tmp_path / "r.png").write_bytes(red)
    (tmp_path / "b.png").write_bytes(blue)
    given = ["-m", tiny, "--seed", "3", "--steps", "1", "-s", "64x64"]
    for name in drawn:
        out = tmp_path / f"{name}-out.png"
        sources = [part for letter in name for part in ("-i", tmp_path / f"{letter}.png")]
        assert glmimg("edit", "both", *sources, *given, "-o", out).status == 0
        assert drawn[name] == pixels(out)
    assert drawn["rb"] != drawn["br"]


def bodies() -> dict[str, dict[str, Any]]:
    """The same edit as different clients send it."""
    red, blue = png("red"), png("blue")
    fields = {"prompt": "both", "size": "64x64", "n": "1", "seed": "3", "steps": "1"}
    urls = [f"data:image/png;base64,{base64.b64encode(each).decode()}" for each in (red, blue)]
    return {
        "image[]": {"data": fields, "files": [("image[]", red), ("image[]", blue)]},
        "image": {"data": fields, "files": [("image", ("a.png", red)), ("image", ("../../b.png", blue))]},
        "numbered": {"data": fields, "files": [("image[0]", red), ("image[1]", blue)]},
        "images": {"json": {**fields, "images": urls, "mask": None}},
        "objects": {"json": {**fields, "images": [{"image_url": urls[0]}, {"image_url": {"url": urls[1]}}]}},
        "base64": {"json": {**fields, "image": [url.partition(",")[2] for url in urls]}},
        "empty": {"data": {**fields, "output_format": "", "mask": ""}, "files": [("image", red), ("image", blue)]},
    }  # fmt: skip


def test_an_edit_is_the_same_however_it_is_sent(address: str) -> None:
    answers = {name: post(f"{address}/v1/images/edits", **body).json() for name, body in bodies().items()}
    assert {name: answer.get("error") for name, answer in answers.items()} == dict.fromkeys(answers)
    assert len({picture(answer["data"][0]) for answer in answers.values()}) == 1


def test_an_edit_is_as_large_as_its_first_source(client: openai.OpenAI) -> None:
    answer = client.images.edit(image=("a.png", png("red", 96)), prompt="it", extra_body=QUICK)
    assert answer.size == "96x96"  # type: ignore[comparison-overlap]


def test_an_edit_by_its_dump(address: str, glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    """Its sources come with it, or inside it, and no file of this machine is read."""
    (tmp_path / "a.png").write_bytes(red := png("red"))
    for name, more in {"plain": (), "embedded": ("--embed-sources",)}.items():
        line = ["edit", "both", "-i", tmp_path / "a.png", "--seed", "3", "-s", "64x64", "--steps", "1", *more]
        assert glmimg(*line, "-m", tiny, "-o", tmp_path / f"{name}.png").status == 0
    (tmp_path / "a.png").rename(tmp_path / "moved.png")
    dump, inside = ((tmp_path / f"{name}.tokens.json").read_bytes() for name in ("plain", "embedded"))
    drawn = pixels(tmp_path / "plain.png")
    files = [("dump", ("x.json", dump)), ("image[]", png("blue")), ("image[]", red)]
    assert pixels(post(f"{address}/decode", files=files).content) == drawn
    assert pixels(post(f"{address}/decode", content=inside).content) == drawn
    for refused in (post(f"{address}/decode", content=dump), post(f"{address}/decode", files=files[:2])):
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "image")
    assert post(f"{address}/decode", files=files[1:]).json()["error"]["param"] == "dump"
    large = json.loads(inside)
    grid = {**large["sources"][0]["grid"], "height": 128, "width": 128, "tokens": [[0] * 128] * 128}
    large["sources"][0] |= {"height": 4096, "width": 4096, "grid": grid}
    assert "pixels a side" in post(f"{address}/decode", json=large).json()["error"]["message"]


def test_tokens_and_then_decode_is_the_same_picture(address: str, client: openai.OpenAI) -> None:
    body = {"prompt": "a red circle", "size": "64x64", **QUICK}
    dump = post(f"{address}/tokens", json=body)
    assert dump.json()["format"] == "glmimg.tokens"
    drawn = picture(draw(client).data[0])
    assert post(f"{address}/decode", content=dump.content).content == drawn
    assert post(f"{address}/decode", content=drawn).content == drawn
    again = post(f"{address}/decode?steps=2&output_format=jpeg", content=drawn)
    assert again.headers["content-type"] == "image/jpeg"
    assert post(f"{address}/decode", content=b"{}").json()["error"]["message"].startswith("the dump")


def test_the_news_of_one_request(address: str) -> None:
    body, heard = {"prompt": "a red circle", "size": "64x64", **QUICK}, []
    with httpx.stream("GET", f"{address}/events?id=mine", timeout=PATIENCE_SECONDS) as news:
        lines = news.iter_lines()
        next(lines)
        with ThreadPoolExecutor(2) as threads:
            for name in ("other", "mine"):
                threads.submit(post, f"{address}/v1/images/generations", json=body, headers={"x-request-id": name})
            for line in lines:
                if line.startswith("data: "):
                    heard.append(json.loads(line[6:]))
                    if heard[-1]["event"] == "finished":
                        break
    assert {event["id"] for event in heard} == {"mine"}
    assert {"started", "finished"} <= {event["event"] for event in heard}


@pytest.mark.parametrize(
    ("asked", "param", "words"),
    [
        ({"n": 99}, "n", "at most 10"),
        ({"n": "many"}, "n", "not a number"),
        ({"size": "9x"}, "size", "WIDTHxHEIGHT"),
        ({"size": "4096x4096"}, "size", "larger than 256x256"),
        ({"prompt": ""}, "prompt", ""),
        ({"prompt": "\0"}, None, "not text"),
        ({"response_format": "gif"}, "response_format", "choose from"),
        ({"output_format": "bmp"}, "output_format", "choose from"),
        ({"seed": "x"}, "seed", "not a number"),
        ({"steps": 0}, "steps", "greater"),
        ({"model": "other"}, "model", "there is no model"),
        ({"images": ["https://example.com/a.png"]}, "image", "not fetched"),
        ({"images": ["data:image/png;base64,AAAA"]}, "image", "source 1"),
        ({"mask": "x"}, "mask", "no mask"),
    ],
)
def test_mistakes_are_named_in_openais_form(address: str, asked: dict[str, Any], param: str | None, words: str) -> None:
    answer = post(f"{address}/v1/images/generations", json={"prompt": "a", "size": "64x64", **asked})
    error = answer.json()["error"]
    assert answer.status_code == (404 if param == "model" else 400)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["v1/images/generations", "v1/images/edits", "tokens"])
def test_json_that_is_sent_as_a_form_is_told_apart(address: str, path: str) -> None:
    """As curl -d sends it."""
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = post(f"{address}/{path}", content=b'{"prompt": "a=b & c"}', headers=kind)
    assert (answer.status_code, "content-type: application/json" in answer.text) == (400, True)


def test_openais_client_understands_what_is_refused(client: openai.OpenAI, address: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        draw(client, size="9x")
    assert refused.value.param == "size"
    with pytest.raises(openai.BadRequestError):
        client.images.edit(image=("a.png", b"no picture"), prompt="it")
    assert [model.id for model in client.models.list().data] == [client.models.list().data[0].id]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    assert get(f"{address}/nowhere").json()["error"]["type"] == "invalid_request_error"
    assert get(f"{address}/v1/images/edits").status_code == 405
