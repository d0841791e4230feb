"""What a client is told that cannot have what it asked for, in the form OpenAI's clients read."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from glmimg.errors import BadInput, GlmimgError, OutOfMemory, UsageError

RETRY_SECONDS = "5"


class Refusal(Exception):
    """No answer but a reason.

    status: of HTTP
    param:  the field it is about
    code:   a word programs may look for
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def record(self) -> dict[str, dict[str, str | None]]:
        """As JSON."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def answer(self) -> JSONResponse:
        """As a response. Only for work that others hold up it says that trying again is worth it."""
        headers = {"x-should-retry": "false"}
        if self.status == 429:
            headers = {"retry-after": RETRY_SECONDS}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.record, self.status, headers=headers)


def refusal_of(error: GlmimgError, param: str | None = None) -> Refusal:
    """An error of ours for a client."""
    mistake = isinstance(error, UsageError | BadInput)
    status = 400 if mistake else 503 if isinstance(error, OutOfMemory) else 500
    return Refusal(status, error.told, param, "out_of_memory" if status == 503 else None)


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """The response to whatever a request raised; what nobody expected is not shown to a client."""
    if isinstance(error, GlmimgError):
        error = refusal_of(error)
    if isinstance(error, HTTPException):
        error = Refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    if not isinstance(error, Refusal):
        error = Refusal(500, "something went wrong here")
    return error.answer()
