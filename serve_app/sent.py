"""The status of an answer, noted on its way out."""

from http import HTTPStatus

from starlette.types import Message, Send


class Sent:
    """An ASGI `send` with the `status` that went through it; until then an internal error."""

    def __init__(self, send: Send) -> None:
        self.status = HTTPStatus.INTERNAL_SERVER_ERROR.value
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
