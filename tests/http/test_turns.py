"""Turns: no client waits until another's whole list is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from glmimg.engine.complete import complete
from glmimg.engine.dispatcher import Client, Dispatcher, Finished, GivenUp, Ticket
from glmimg.engine.http.picture_request import Drafted, News, PictureRequest
from glmimg.engine.scope import Scope
from glmimg.events import JobStarted, PreviewWritten, TokensWritten, Watch
from glmimg.grid import GridShape
from glmimg.job import Job
from glmimg.runtime.layout import Layout
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from tests.batch.stubs import StubTokens, stub_checkpoint
from tests.http.serving import StubServed


class TellingTokens(StubTokens):
    """Stage 1 that shows its preview, and writes on."""

    def write(self, works: Sequence[TokenWork], watch: Watch) -> list[TokenDump]:
        dumps = super().write(works, watch)
        watch(PreviewWritten(tuple(dumps)))
        watch(TokensWritten(1, (("target", GridShape(2, 2)),), 0.1))
        self.stages.loads.append("written")
        return dumps


class TellingStages(StubServed):
    def load_tokens(self, layout: Layout, scope: Scope, watch: Watch) -> StubTokens:
        return TellingTokens(self)


def stub_job(folder: Path, prompt: str = "a", seed: int = 0) -> Job:
    return complete({"prompt": prompt, "seed": seed, "size": None}, stub_checkpoint(folder))


def dispatcher_of(stages: StubServed, rows: int) -> Dispatcher:
    served: Any = stages
    return Dispatcher(served, rows, Scope(64, 64))


@contextmanager
def held_up(dispatcher: Dispatcher) -> Iterator[None]:
    """While it lasts, what is submitted waits."""
    ends = threading.Event()
    dispatcher.submit(Ticket(Client(), lambda engine: ends.wait(10)))
    yield
    ends.set()


class Heard:
    """The news of some pictures. most: of them that are waited for"""

    def __init__(self, most: int) -> None:
        self.news: list[tuple[str, News]] = []
        self.order: list[str] = []
        self.most, self.all_done = most, threading.Event()

    def of(self, name: str) -> Any:
        def tell(news: News) -> None:
            self.news.append((name, news))
            if isinstance(news, Finished):
                self.order.append(name)
                if len(self.order) == self.most:
                    self.all_done.set()

        return tell


@pytest.mark.parametrize("both", [True, False])
def test_clients_take_turns(tmp_path: Path, both: bool) -> None:
    heard, stages = Heard(7), StubServed(both=both)
    dispatcher, a = dispatcher_of(stages, 2), Client()
    with held_up(dispatcher):
        for number in range(6):
            PictureRequest(stub_job(tmp_path, "a", number)).submit(dispatcher, a, heard.of(f"a{number}"))
        PictureRequest(stub_job(tmp_path, "b", 9)).submit(dispatcher, Client(), heard.of("b0"))
    assert heard.all_done.wait(10)
    dispatcher.close()
    assert sorted(heard.order) == ["a0", "a1", "a2", "a3", "a4", "a5", "b0"]
    assert heard.order.index("b0") < 5
    assert [each for each in heard.order if each[0] == "a"] == [f"a{number}" for number in range(6)]
    assert both or stages.loads.count("tokens") <= 4


@pytest.mark.parametrize(("exact", "sizes"), [(True, [4]), (False, [1, 1, 2])])
def test_only_what_shares_goes_together_where_a_batch_rounds(tmp_path: Path, exact: bool, sizes: list[int]) -> None:
    heard, stages = Heard(4), StubServed()
    stages.__dict__["is_exact"] = exact
    dispatcher = dispatcher_of(stages, 8)
    with held_up(dispatcher):
        for seed in range(1, 5):
            picture = PictureRequest(stub_job(tmp_path, seed=seed), paints=False, shares=seed > 2)
            picture.submit(dispatcher, Client(), heard.of(str(seed)))
    assert heard.all_done.wait(10)
    dispatcher.close()
    started = [news.at_once for _, news in heard.news if isinstance(news, JobStarted)]
    assert sorted(started) == [size for size in sizes for _ in range(size)]


def test_who_leaves_is_not_drawn_for(tmp_path: Path) -> None:
    heard, stages = Heard(2), StubServed()
    dispatcher, gone = dispatcher_of(stages, 1), Client()
    with held_up(dispatcher):
        PictureRequest(stub_job(tmp_path, "a")).submit(dispatcher, Client(), heard.of("a"))
        PictureRequest(stub_job(tmp_path, "b")).submit(dispatcher, gone, heard.of("b"))
        dispatcher.give_up(gone)
    PictureRequest(stub_job(tmp_path, "b", 1)).submit(dispatcher, gone, heard.of("after"))
    assert heard.all_done.wait(10)
    assert dispatcher.waiting == 0
    dispatcher.close()
    assert heard.order == ["b", "a"]
    assert isinstance(
        next(news.result for name, news in heard.news if name == "b" and isinstance(news, Finished)), GivenUp
    )


@pytest.mark.parametrize(("both", "order"), [(True, ["painter", "written"]), (False, ["written", "painter"])])
def test_a_draft_is_shown_while_the_target_is_written(tmp_path: Path, both: bool, order: list[str]) -> None:
    """Painted between two tokens where both stages are loaded; elsewhere its tokens are shown as colours."""
    heard, stages = Heard(2), TellingStages(both=both)
    dispatcher = dispatcher_of(stages, 2)
    for seed in (1, 2):
        PictureRequest(stub_job(tmp_path, seed=seed), drafts=True).submit(dispatcher, Client(), heard.of(str(seed)))
    assert heard.all_done.wait(10)
    dispatcher.close()
    assert stages.loads[:2] == order
    for name in ("1", "2"):
        told = [type(news) for by, news in heard.news if by == name]
        assert told.index(Drafted) < told.index(Finished)
        assert told.count(Drafted) == 1
