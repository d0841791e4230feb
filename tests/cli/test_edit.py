"""`edit`, and what it shares with `tokens -i` and `decode`: the split, the replay, moved sources, bad input."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glmimg as package
from glmimg.image_io import read_provenance
from glmimg.tokens.dump_file import read_dump
from tests.conftest import Outcome
from tests.pictures import BAD, GOOD, gradient, write_bad, write_good

Run = Callable[..., Outcome]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two source pictures in the current folder."""
    monkeypatch.chdir(tmp_path)
    gradient(128, 96).save("a.png")
    gradient(64, 128).transpose(Image.Transpose.ROTATE_180).save("b.jpg", quality=95)
    return "a.png", "b.jpg"


def pixels(path: str | Path) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(path))


def edit(glmimg: Run, tiny: Path, *arguments: str) -> Outcome:
    outcome = glmimg("edit", "put 'A' beside B", "-m", tiny, "--seed", "5", "--steps", "2", *arguments)
    assert outcome.status == 0, outcome.err
    return outcome


def test_split_replay_and_embedding_agree_bit_for_bit(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    edit(glmimg, tiny, "-i", "a.png", "-i", "b.jpg", "-o", "whole.png")
    whole = Path("whole.png").read_bytes()
    assert Image.open("whole.png").size == (128, 96), "the size of the first source"
    stage_one = glmimg("tokens", "put 'A' beside B", "-i", "a.png", "-i", "b.jpg", "-m", tiny, "--seed", "5", "-o",
                       "x.tokens.json", "--json")  # fmt: skip
    assert [source["path"] for source in json.loads(stage_one.out)["sources"]] == ["a.png", "b.jpg"]
    assert glmimg("decode", "x.tokens.json", "-o", "apart.png", "--steps", "2").status == 0
    assert Path("apart.png").read_bytes() == whole, "pixels and metadata alike"
    assert glmimg("replay", "whole.png", "-o", "again.png").status == 0
    assert Path("again.png").read_bytes() == whole
    with package.load(str(tiny)) as model:
        from_python = model.draw("put 'A' beside B", sources=["a.png", "b.jpg"], seed=5, steps=2)
    assert np.array_equal(np.asarray(from_python.image), pixels("whole.png"))
    edit(glmimg, tiny, "-i", "a.png", "-i", "b.jpg", "-o", "alone.png", "--embed-sources")
    for name in ("a.png", "b.jpg", "alone.png"):
        Path(name).unlink()
    assert glmimg("decode", "alone.tokens.json", "-o", "alone.png", "--steps", "2").status == 0
    assert Path("alone.png").read_bytes() == whole


def test_the_dump_names_each_source(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    edit(glmimg, tiny, "-i", "a.png", "-i", "b.jpg", "-o", "x.png", "-s", "64x96", "--background", "black")
    dump = read_dump(Path("x.tokens.json"))
    assert (dump.width, dump.height) == (64, 96), "--size overrides the first source's"
    assert [grid.role for grid in dump.grids] == ["target"]
    assert [(source.path, source.width, source.height) for source in dump.sources] == [
        ("a.png", 128, 96),
        ("b.jpg", 64, 128),
    ]
    assert [source.grid.shape for source in dump.sources] == [(3, 4), (4, 2)]
    assert {source.background for source in dump.sources} == {"#000000"}
    assert read_provenance(Path("x.png")).job.scene.sources == tuple(source.ref for source in dump.sources)


def test_a_name_that_is_not_utf8(glmimg: Run, tiny: Path, tmp_path: Path, two: tuple[str, str]) -> None:
    named, out, again = tmp_path / "a\udcff.png", tmp_path / "out\udcff.png", tmp_path / "again.png"
    named.write_bytes(Path(two[0]).read_bytes())
    drawing = ("-m", tiny, "--steps", "2", "-q")
    assert glmimg("edit", "make it blue", "-i", named, "-o", out, *drawing).status == 0
    dump = tmp_path / "out\udcff.tokens.json"
    assert (
        glmimg("redraw", dump, "--box", "0,0,32,32", "--source", named, "-o", tmp_path / "b.json", *drawing).status == 0
    )
    lost = glmimg("replay", out, "-o", again, "-q")
    assert lost.status == 3
    assert "a\\xff.png" in lost.err
    assert glmimg("replay", out, "-o", again, "-q", "--source", named).status == 0
    assert again.read_bytes() == out.read_bytes()


def test_moved_and_changed_sources_are_named(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    edit(glmimg, tiny, "-i", "a.png", "-i", "b.jpg", "-o", "x.png")
    before = pixels("x.png")
    Path("elsewhere").mkdir()
    Path("b.jpg").rename("elsewhere/c.jpg")
    for command in (["decode", "x.tokens.json"], ["replay", "x.png"]):
        gone = glmimg(*command, "-o", "y.png")
        assert (gone.status, gone.out) == (3, "")
        assert "b.jpg: no longer exists" in gone.err
        assert "--source PATH" in gone.err
        assert glmimg(*command, "--source", "elsewhere/c.jpg", "-o", "y.png", *_steps(command), "-f").status == 0
        assert np.array_equal(pixels("y.png"), before)
    gradient(64, 128).save("b.jpg")
    changed = glmimg("decode", "x.tokens.json", "-o", "z.png")
    assert changed.status == 3
    assert "b.jpg: has changed since" in changed.err
    assert glmimg("decode", "x.tokens.json", "--source", "elsewhere/c.jpg", "-o", "z.png", "--steps", "2").status == 0
    assert glmimg("decode", "x.tokens.json", "--source", "a.png", "-o", "w.png").status == 3


def _steps(command: list[str]) -> list[str]:
    return ["--steps", "2"] if command[0] == "decode" else []


def test_a_folder_can_be_moved_as_a_whole(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    edit(glmimg, tiny, "-i", "a.png", "-o", "x.png")
    shutil.copytree(".", "../moved")
    Path("a.png").unlink()
    assert glmimg("decode", "../moved/x.tokens.json", "-o", "y.png", "--steps", "2").status == 0
    assert np.array_equal(pixels("x.png"), pixels("y.png"))


def test_a_damaged_embedded_source_is_refused(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    edit(glmimg, tiny, "-i", "a.png", "-o", "x.png", "--embed-sources")
    good = json.loads(Path("x.tokens.json").read_text())
    other = gradient(64, 64)
    other.save("small.png")
    for embedded in ("", "nonsense!", base64.b64encode(b"nothing").decode(),
                     base64.b64encode(Path("small.png").read_bytes()).decode(),
                     good["sources"][0]["embedded"][:400]):  # fmt: skip
        good["sources"][0]["embedded"] = embedded
        Path("bad.tokens.json").write_text(json.dumps(good))
        refused = glmimg("decode", "bad.tokens.json", "-o", "y.png")
        assert refused.status == 3
        assert "embedded" in refused.err
        assert not Path("y.png").exists()


def test_a_dump_does_not_change_the_picture_of_another(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    """Whatever hash a dump states of the pixels it embeds, they are its own; a file is known by its own hash."""
    edit(glmimg, tiny, "-i", "a.png", "-o", "alone.png", "--embed-sources")
    edit(glmimg, tiny, "-i", "a.png", "-o", "file.png")
    liar = json.loads(Path("alone.tokens.json").read_text())
    gradient(128, 96).transpose(Image.Transpose.ROTATE_180).save("other.png")
    liar["sources"][0]["embedded"] = base64.b64encode(Path("other.png").read_bytes()).decode()
    Path("liar.tokens.json").write_text(json.dumps(liar))
    assert glmimg("decode", "liar.tokens.json", "-o", "lie.png", "--steps", "2").status == 0
    dumps = ("alone.tokens.json", "file.tokens.json", "liar.tokens.json", "alone.tokens.json")
    assert glmimg("decode", *dumps, "-o", "{index}.png", "--steps", "2").status == 0
    assert not np.array_equal(pixels("lie.png"), pixels("alone.png"))
    for drawn, alone in (("1.png", "alone.png"), ("2.png", "file.png"), ("3.png", "lie.png"), ("4.png", "alone.png")):
        assert np.array_equal(pixels(drawn), pixels(alone)), drawn
    scored = glmimg("score", "alone.tokens.json", "liar.tokens.json")
    assert scored.status == 3
    assert "different pixels under the same hash" in scored.err


def test_every_kind_of_source_through_edit(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    """All of them as sources of one edit, in several commands: no traceback, no refusal."""
    assert len(GOOD) + len(BAD) >= 60
    paths = []
    for number, kind in enumerate(GOOD):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(write_good(kind, folder))
    sources = [argument for path in paths for argument in ("-i", str(path))]
    outcome = glmimg(
        "edit", "all of them", *sources, "-m", tiny, "--steps", "1", "-s", "64x64", "-o", tmp_path / "x.png"
    )
    assert outcome.status == 0, outcome.err
    assert "Traceback" not in outcome.err
    assert "first frame of 3" in outcome.err
    assert "padded from 12000x1 to 4:1" in outcome.err
    assert len(read_dump(tmp_path / "x.tokens.json").sources) == len(GOOD)


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    import glmimg.runtime.load

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(glmimg.runtime.load, "load_part", refuse)


@pytest.mark.usefixtures("nothing_loads")
def test_bad_sources_are_refused_before_anything_loads(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    gradient(64, 64).save(tmp_path / "good.png")
    (tmp_path / "out.png").write_bytes(b"precious")
    for number, (kind, (_, reason)) in enumerate(BAD.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write_bad(kind, folder)
        refused = glmimg(
            "edit", "x", "-i", tmp_path / "good.png", "-i", path, "-m", tiny, "-o", tmp_path / "out.png", "-f"
        )
        assert refused.status == 3, kind
        assert refused.out == ""
        assert reason in refused.err, kind
        assert refused.err.count("error:") == 1
        assert "Traceback" not in refused.err
        assert str(path) in refused.err
    assert (tmp_path / "out.png").read_bytes() == b"precious"


@pytest.mark.usefixtures("nothing_loads")
def test_more_sources_than_fit_say_how_many_do(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    gradient(512, 512).save("large.png")
    outcome = glmimg("edit", "x", *["-i", "large.png"] * 30, "-m", tiny, "-o", "x.png")
    assert outcome.status == 3
    assert "the model reads 4096 tokens, and only 14 of the 30 sources fit" in outcome.err
    assert "Give at most 14 sources" in outcome.err


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["x"], 2, "there is no source picture"),
        (["-i", "a.png"], 2, "no prompt given"),
        (["x", "-i", "a.png", "--fit", "squash"], 2, "--fit squash"),
        (["x", "-i", "a.png", "--background", "bluish"], 2, "--background bluish"),
        (["x", "-i", "a.png", "-s", "100x100"], 2, "multiples of 32"),
        (["--from", "a.png"], 2, "glmimg replay PICTURE"),
    ],
)
def test_wrong_commands(
    glmimg: Run, tiny: Path, two: tuple[str, str], arguments: list[str], status: int, words: str
) -> None:
    outcome = glmimg("edit", *arguments, "-m", tiny, "-o", "x.png")
    assert outcome.status == status
    assert words in outcome.err
    assert not Path("x.png").exists()


def test_presets_put_the_prompt_into_their_templates(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    for preset in ("edit", "restyle", "together", "keep-face"):
        outcome = glmimg(
            "tokens", "on the moon", "-i", "a.png", "-p", preset, "-m", tiny, "-o", f"{preset}.tokens.json"
        )
        assert outcome.status == 0, outcome.err
        prompt = read_dump(Path(f"{preset}.tokens.json")).prompt
        assert "on the moon" in prompt
        assert len(prompt) > 40
        assert not set("'\"“”「」") & set(prompt), "quotation marks would be painted as words"


def test_counts_and_prompts_multiply(glmimg: Run, tiny: Path, two: tuple[str, str]) -> None:
    outcome = glmimg("edit", "one", "two", "-i", "a.png", "-n", "2", "-m", tiny, "--seed", "7", "--steps", "1",
                     "-s", "64x64", "-o", "x-{index}-{seed}.png")  # fmt: skip
    assert outcome.out.split() == ["x-1-7.png", "x-2-8.png", "x-3-7.png", "x-4-8.png"]
    grids = [read_dump(Path(name).with_suffix(".tokens.json")).target for name in outcome.out.split()]
    assert grids[0] != grids[1], "each seed has its own tokens"
    assert grids[2] != grids[3]


def test_each_stage_of_an_edit_leaves_the_other_unloaded(tiny: Path, tmp_path: Path) -> None:
    source, dump = tmp_path / "a.png", tmp_path / "x.tokens.json"
    gradient(128, 96).save(source)
    probe = (
        "import sys\nfrom glmimg.cli.main import main\nsys.argv = ['glmimg', *{!r}]\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code\n"
        "print('LOADED', *sys.modules)\n"
    )
    for arguments, never in (
        (["tokens", "x", "-i", source, "-m", tiny, "-o", dump], "diffusers"),
        (
            ["decode", dump, "-o", tmp_path / "x.png", "--steps", "1"],
            "transformers.models.glm_image.modeling_glm_image",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-c", probe.format(list(map(str, arguments)))], capture_output=True, text=True, check=True
        )
        loaded = done.stdout.rpartition("LOADED ")[2].split()
        assert "glmimg.sources.shelf" in loaded
        assert never not in loaded
