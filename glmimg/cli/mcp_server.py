"""`glmimg serve --mcp`: tools for a language model's program, over standard input and output, by the official SDK.

Files are read and written inside the folder the server was started in, and written only where a call says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field, WithJsonSchema

from glmimg import __version__
from glmimg.choice import Output
from glmimg.cli.capabilities import knob_fields
from glmimg.cli.drawing import place_orders
from glmimg.cli.options import Request
from glmimg.cli.presets import fields_of
from glmimg.cli.run import Run
from glmimg.cli.sourcing import gather_sources
from glmimg.engine.dispatcher import Client, Dispatcher, Finished
from glmimg.engine.http.asking import KNOBS
from glmimg.engine.http.picture_request import News, PictureRequest
from glmimg.engine.output_files import OutputFiles
from glmimg.errors import GlmimgError, UsageError
from glmimg.events import StepDone, TokensWritten
from glmimg.image_io import Picture
from glmimg.job import Job
from glmimg.metadata import format_of
from glmimg.preset import list_presets
from glmimg.request import JOB
from glmimg.settings_file import near_names
from glmimg.sources.web import is_address

MOST_PICTURES = 10
"""That one call may ask for."""

SETTINGS = {
    name: {**fields["schema"], "description": fields["help"]}
    for model in JOB
    for name, fields in knob_fields(model)
    if name in KNOBS | {"size"}
}
"""JSON Schemas of the knobs that a call may set: those of a job that name no file."""

Prompt = Annotated[str, Field(description="What to draw. Words to be written in the picture stand in quotes.")]
Knobs = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "properties": SETTINGS, "additionalProperties": False}),
    Field(description="How to draw it; what is left out is as the presets and the model have it."),
]
Presets = Annotated[list[str], Field(description="Names of presets, see list_presets; later ones win.")]
Count = Annotated[int, Field(ge=1, le=MOST_PICTURES, description="Pictures: seeds seed, seed+1, ...")]
Out = Annotated[
    str | None,
    Field(description="A file inside the server's folder to write to, and its token dump beside it; none is replaced."),
]
Sources = Annotated[list[str], Field(min_length=1, description="Source pictures, paths inside the server's folder.")]
AnyDump = Annotated[str, Field(description="A token dump or a picture of glmimg, a path inside the server's folder.")]
Content = list[Image | str]


@dataclass
class Tools:
    """What a program can have done, on the stages of one model.

    folder: the one files lie in
    """

    run: Run
    dispatcher: Dispatcher
    folder: Path

    def server(self) -> MCPServer[Any]:
        """All tools behind MCP."""
        server: MCPServer[Any] = MCPServer(
            "glmimg",
            version=__version__,
            log_level="ERROR",
            instructions=f"Draws pictures with GLM-Image ({self.run.checkpoint.id}), from prompts and other pictures.",
        )
        for tool in (self.draw, self.edit, self.look, self.list_presets):
            server.add_tool(tool, structured_output=False)
        return server

    async def draw(
        self,
        context: Context[Any, Any],
        prompt: Prompt,
        knobs: Knobs = {},  # noqa: B006 (read only, and shown to clients)
        presets: Presets = [],  # noqa: B006
        count: Count = 1,
        out: Out = None,
    ) -> Content:
        """Draw pictures from a prompt."""
        return await self._draw(context, prompt, {**knobs}, presets, count, out)

    async def edit(
        self,
        context: Context[Any, Any],
        prompt: Prompt,
        images: Sources,
        knobs: Knobs = {},  # noqa: B006
        presets: Presets = [],  # noqa: B006
        count: Count = 1,
        out: Out = None,
    ) -> Content:
        """Draw pictures from source pictures and a prompt that says what is to change."""
        with errors_told():
            paths = [str(self._inside(path)) for path in images]
        return await self._draw(context, prompt, {**knobs}, presets, count, out, paths)

    def look(self, path: AnyDump) -> Content:
        """Look at the tokens a picture was painted from: its grids as a picture, and as JSON what is known of them."""
        from glmimg.cli.inspect_view import dump_fields
        from glmimg.metadata import encode
        from glmimg.tokens.checks import check_dump
        from glmimg.tokens.dump_file import read_dump
        from glmimg.tokens.picture import draw_dump
        from glmimg.tokens.statistics import describe

        with errors_told():
            dump = read_dump(self._inside(path))
        fields = dump_fields(dump, check_dump(dump, Path(path)), describe(dump))
        return [Image(data=encode(draw_dump(dump), "PNG", {})), json.dumps(fields, ensure_ascii=False)]

    def list_presets(self) -> str:
        """List the presets: what each is for, and which knobs it sets."""
        with errors_told():
            found = {name: fields_of(preset) for name, preset in list_presets().items()}
        return json.dumps(found, ensure_ascii=False)

    async def _draw(
        self,
        context: Context[Any, Any],
        prompt: str,
        knobs: dict[str, Any],
        presets: Sequence[str],
        count: int,
        out: str | None,
        images: Sequence[str] = (),
    ) -> Content:
        with errors_told():
            run = self._run_of(knobs, presets, images)
            jobs = await asyncio.to_thread(lambda: run.jobs([prompt], count, gather_sources(run)))
            if out is not None:
                self._inside(out)
            orders = place_orders(jobs, Output(out=out)) if out is not None else []
            with OutputFiles() as files, run.remembered(files.written):
                files.take(path for order in orders for path in (order.dump_path, order.picture_path))
                pictures = await self._pictures(jobs, context)
                for order, picture in zip(orders, pictures, strict=bool(orders)):
                    seed, path = order.job.sampling.seed, order.picture_path
                    if order.dump_path is not None and picture.dump is not None:
                        files.write(order.dump_path, picture.dump.to_json().encode(), seed)
                    if path is not None:
                        files.write(path, picture.encode(format_of(path)), seed)
        written = [{"written": str(order.picture_path)} for order in orders] or [{}] * len(pictures)
        told = [
            {**file, **picture.provenance.job.model_dump(mode="json")}
            for file, picture in zip(written, pictures, strict=True)
        ]
        return [*(Image(data=picture.encode()) for picture in pictures), json.dumps(told, ensure_ascii=False)]

    def _run_of(self, knobs: dict[str, Any], presets: Sequence[str], images: Sequence[str]) -> Run:
        """The run as this call wants it. Raises UsageError (exit 2)."""
        for name in knobs:
            if name not in SETTINGS:
                raise UsageError(f"there is no knob {name!r}", near_names(name, SETTINGS))
        known = list_presets()
        for name in presets:
            if name not in known:
                raise UsageError(f"there is no preset {name!r}", near_names(name, known))
        flags = {**self.run.request.flags, **knobs, "literal": True, **({"image": tuple(images)} if images else {})}
        return replace(self.run, request=Request(flags, tuple(presets)))

    async def _pictures(self, jobs: Sequence[Job], context: Context[Any, Any]) -> list[Picture]:
        """Draw jobs, and tell how far they are. Raises what stops one of them; the others are given up then."""
        loop, client, heard = asyncio.get_running_loop(), Client(), asyncio.Queue[tuple[int, News]]()
        for number, job in enumerate(jobs):

            def tell(news: News, number: int = number) -> None:
                loop.call_soon_threadsafe(heard.put_nowait, (number, news))

            PictureRequest(job).submit(self.dispatcher, client, tell)
        pictures, shown = dict[int, Picture](), 0.0
        try:
            while len(pictures) < len(jobs):
                number, news = await heard.get()
                share = 0.0
                if isinstance(news, Finished):
                    if isinstance(news.result, Exception):
                        raise news.result
                    assert isinstance(news.result, Picture)
                    pictures[number] = news.result
                elif isinstance(news, TokensWritten):
                    share = news.count / news.total / 2
                elif isinstance(news, StepDone):
                    share = (1 + news.number / news.total) / 2
                if len(pictures) + share > shown:
                    shown = len(pictures) + share
                    await context.report_progress(shown, len(jobs))
        finally:
            self.dispatcher.give_up(client)
        return [pictures[number] for number in range(len(jobs))]

    def _inside(self, name: str) -> Path:
        """A path in the server's folder. Raises UsageError (exit 2) for one that leads out of it."""
        if is_address(name):
            raise UsageError(f"{name} is an address, and only files are read", "Download it into the server's folder.")
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise UsageError(f"{name} is outside the folder of the server", "Files are read and written inside it.")
        return path


@contextmanager
def errors_told() -> Iterator[None]:
    """Errors of ours are for the client to read."""
    try:
        yield
    except GlmimgError as error:
        raise ToolError(error.told) from error


def serve_mcp(run: Run) -> None:
    """Answer a client over standard input and output until it closes them. Weights load with the first picture."""
    dispatcher = Dispatcher(run.own_stages, run.choice.rows, run.own_stages.open_scope())
    try:
        Tools(run, dispatcher, Path.cwd()).server().run("stdio")
    finally:
        dispatcher.close()
