"""Rows and pictures, and models of them that sfumato had no part in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSchema, Numeric, Ordinal, Schema

TABLE = Schema(
    (
        Numeric("age", 0, 99, 1, integer=True),
        Categorical("town", ("north", "south", "west")),
        Ordinal("degree", ("none", "school", "college")),
        Categorical("owner", ("no", "yes")),
    ),
    target="owner",
)
PICTURES = ImageSchema(1, 4, 5, ("left", "middle", "right"))


class Answering:
    """What a service does with a request, and what it was sent."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.planned: list[tuple[int, dict[str, str], bytes]] = []
        self.most = 10**9
        self.classes: list[str] | None = None
        self.url = ""

    def __call__(self, values: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if self.planned:
            return self.planned.pop(0)
        (records,) = values.values()
        if len(records) > self.most:
            return 413, {}, b""
        shares = []
        for record in records:
            if "images" in values:
                column = np.asarray(record)[0].sum(axis=0)
                share = np.exp(column[:3]) / np.exp(column[:3]).sum()
                shares.append(share.tolist())
            else:
                yes = (record["age"] or 0) / 100
                shares.append([yes, 1 - yes] if self.classes == ["yes", "no"] else [1 - yes, yes])
        answer: dict[str, Any] = {"probabilities": shares}
        if self.classes is not None:
            answer["classes"] = self.classes
        return 200, {}, json.dumps(answer).encode()


@pytest.fixture
def service() -> Iterator[Answering]:
    """A prediction service in a thread of its own."""
    answering = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            values = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answering.asked.append(values)
            answering.headers.append(dict(self.headers))
            status, headers, body = answering(values)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    answering.url = f"http://127.0.0.1:{server.server_port}/predict"
    yield answering
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def table_schema() -> Schema:
    return TABLE


@pytest.fixture(scope="session")
def picture_schema() -> ImageSchema:
    return PICTURES
