"""Where LocalGrid runs the ClientApp: a call of it on serialised messages, and worker processes."""

import importlib
import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection

from flwr.app import Error, Message
from flwr.app.message.message import make_message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.common.serde_utils import (
    error_from_proto,
    error_to_proto,
    metadata_from_proto,
    metadata_to_proto,
)
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage

from autoprune.federation import communication

Frames = tuple[bytes, bytes, bytes]
"""Envelope, content and context of one message, serialised apart: the content once a round."""


def load_app(reference: str) -> ClientApp:
    """The ClientApp at ``module:attribute``, as Flower's own configuration names it."""
    module, _, attribute = reference.partition(":")
    app: ClientApp = getattr(importlib.import_module(module), attribute)
    return app


def call(app: ClientApp, frames: Frames) -> Frames:
    """Deliver one message to the app; what the app raises becomes an error reply."""
    envelope, content, context_bytes = frames
    message = message_of(envelope, content)
    context = context_from_proto(ProtoContext.FromString(context_bytes))
    try:
        reply = app(message, context)
    except Exception as error:  # any exception is the client's, and the round's to judge
        reason = f"{type(error).__name__}: {error}"
        reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
    content = communication.encode(reply.content) if reply.has_content() else b""
    return envelope_of(reply), content, context_to_proto(context).SerializeToString()


def envelope_of(message: Message) -> bytes:
    """A message without its content."""
    error = error_to_proto(message.error) if message.has_error() else None
    envelope = ProtoMessage(metadata=metadata_to_proto(message.metadata), error=error)
    return envelope.SerializeToString()  # type: ignore[no-any-return]


def message_of(envelope: bytes, content: bytes) -> Message:
    """The message of an envelope and its content, which an error reply does not have."""
    proto = ProtoMessage.FromString(envelope)
    metadata = metadata_from_proto(proto.metadata)
    if proto.HasField("error"):
        return make_message(metadata, error=error_from_proto(proto.error))
    return make_message(metadata, communication.decode(content))


def serve(connection: Connection, app_reference: str) -> None:
    """A worker's life: take a message, answer it, until the grid hangs up."""
    app = load_app(app_reference)
    with suppress(EOFError, OSError):  # of the connection: what the app raises, call() keeps
        while True:
            frames = (connection.recv_bytes(), connection.recv_bytes(), connection.recv_bytes())
            for frame in call(app, frames):
                connection.send_bytes(frame)


class Worker:
    """One worker process and the message it has in hand."""

    def __init__(self, app: str) -> None:
        # forkserver: the children share the pages of torch and flwr, and no lock of ours
        start = multiprocessing.get_context("forkserver")
        start.set_forkserver_preload([__name__, app.partition(":")[0]])
        self.connection, theirs = start.Pipe()
        self.process = start.Process(target=serve, args=(theirs, app), daemon=True)
        self.process.start()
        theirs.close()
        self.message_id = ""

    def send(self, message_id: str, frames: Frames) -> None:
        """Hand the worker a message; raises OSError when it has died."""
        self.message_id = message_id
        for frame in frames:
            self.connection.send_bytes(frame)

    def receive(self) -> Frames:
        """Its answer; raises EOFError or OSError when it has died."""
        recv = self.connection.recv_bytes
        return recv(), recv(), recv()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.terminate()
        self.process.join()
