"""A prediction service over HTTP: records go out as JSON, probabilities come back.

The protocol is one request::

    POST URL
    {"records": [{"age": 41, "job": null}, ...]}      rows of a table, by name
    {"images": [[[[0.0, ...]]], ...]}                 (n, c, h, w), as the interface says

    {"probabilities": [[0.2, 0.8], ...], "classes": ["no", "yes"]}

``classes`` may be left out where the order is the schema's. Whoever attacks a service shows it the
records: they go only to the address given, never along a redirect, and not over an open line
unless that is said to be right.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib import error as errors
from urllib import parse, request

from sfumato.errors import InputError

AUTHORIZATION = "SFUMATO_AUTHORIZATION"
"""The environment variable whose value is sent as the header ``Authorization``."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LATER = (408, 425, 429, 500, 502, 503, 504)
_LARGEST = 1 << 28  # bytes of an answer
_LONGEST = 30.0  # seconds that a service may ask to wait


@dataclass
class Service:
    """A function of records that asks a service.

    Args:
        url: ``http://`` or ``https://``.
        batch: Records a request; halved where the service says that they are too many.
        timeout: Seconds until a request counts as failed.
        tries: Of a request that fails for a reason that may pass.
        pause: Seconds before the second try; doubled before each further one.
        headers: Sent with each request.
        trust: Whether records may go over an open line to another machine.
        requests: How many were sent.

    Raises:
        InputError: If the address is none, or the line is open.
    """

    url: str
    batch: int = 256
    timeout: float = 60.0
    tries: int = 4
    pause: float = 0.5
    headers: Mapping[str, str] = field(default_factory=dict)
    trust: bool = False
    requests: int = 0

    def __post_init__(self) -> None:
        try:
            parts = parse.urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise InputError(
                "the address of the service cannot be read", "Give http(s)://HOST:PORT/PATH."
            ) from None
        if not known:
            raise InputError(f"{self.name!r} is no address of a service", "Give http(s)://...")
        if not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise InputError(
                f"the address of {parts.hostname} holds a blank, or a letter that no address has",
                "Write it as %20, or as %C3%BC.",
            )
        if parts.username or parts.password:
            raise InputError(
                f"the address of {parts.hostname} holds a password",
                f"Put what the service asks for into the variable {AUTHORIZATION}.",
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.trust:
            raise InputError(
                f"records would go to {parts.hostname} over an open line",
                "Use https, or say that the line is safe: --trust.",
            )
        handlers: list[Any] = [_Stay()]
        if parts.hostname in _LOOPBACK:
            handlers.append(request.ProxyHandler({}))
        self._opener = request.build_opener(*handlers)
        self._classes: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The address without what may be secret in it."""
        parts = parse.urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def __call__(self, records: Any) -> Any:
        """Scores of the classes, in the service's own order.

        Args:
            records: A data frame of rows, or an array of images.

        Raises:
            InputError: If the service cannot be reached, refuses, or answers something else.
        """
        return self.ask(records)[0]

    def ask(self, records: Any) -> tuple[list[Any], tuple[str, ...]]:
        """Scores, and the classes that the service names.

        Raises:
            InputError: As for a call; or if it names other classes, or in another order, than it
                did before: of several servers behind one address, each may have its own.
        """
        key = "records" if hasattr(records, "columns") else "images"
        rows = _rows(records) if key == "records" else records.tolist()
        scores: list[Any] = []
        classes: tuple[str, ...] = ()
        for start in range(0, len(rows), self.batch):
            some, classes = self._answer(key, rows[start : start + self.batch])
            scores += some
        return scores, classes

    def _answer(self, key: str, rows: list[Any]) -> tuple[list[Any], tuple[str, ...]]:
        try:
            values = self._post({key: rows})
        except _TooMany:
            if len(rows) == 1:
                raise InputError(
                    f"{self.name} refuses one record as too large", "Check its limits."
                ) from None
            half = (len(rows) + 1) // 2
            left, classes = self._answer(key, rows[:half])
            return left + self._answer(key, rows[half:])[0], classes
        scores = values.get("probabilities") if isinstance(values, dict) else None
        if not isinstance(scores, list) or len(scores) != len(rows):
            raise InputError(
                f"{self.name} answers no list of {len(rows)} probabilities",
                'It must answer {"probabilities": [[...], ...]}, one row a record.',
            )
        assert isinstance(values, dict)
        if len({len(row) if isinstance(row, list) else 1 for row in scores}) > 1:
            raise InputError(
                f"{self.name} answers more scores for some records than for others",
                'It must answer {"probabilities": [[...], ...]}, one score a class for each.',
            )
        if not all(_numbers(row) for row in scores):
            raise InputError(
                f"{self.name} answers probabilities that are no numbers",
                'One row a record: {"probabilities": [[0.2, 0.8], ...]}, without names or % signs.',
            )
        named = values.get("classes") or []
        if not isinstance(named, list):
            raise InputError(
                f"{self.name} names its classes otherwise than in a list",
                'Have it answer "classes": ["no", "yes"], in the order of the scores, or leave '
                "them out.",
            )
        return scores, self._named(tuple(map(str, named)))

    def _named(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        if self._classes is None:
            self._classes = classes
        if classes and not self._classes:
            raise InputError(
                f"{self.name} names its classes now, and did not before",
                "It must name them in its first answer or never; ask whoever runs it.",
            )
        if classes and classes != self._classes:
            # The first were named when made-up records were asked about. Others may repeat what
            # was sent since, and are not shown.
            same = sorted(classes) == sorted(self._classes)
            raise InputError(
                f"{self.name} names the classes {', '.join(classes) if same else 'otherwise'}, and "
                f"before {', '.join(self._classes)}",
                "Its answers must have one order; ask whoever runs it.",
            )
        return self._classes

    def _post(self, values: Any) -> Any:
        body = json.dumps(values, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        secret = os.environ.get(AUTHORIZATION, "").strip()
        if secret:
            headers["Authorization"] = secret
        headers |= self.headers
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise InputError(
                f"what is sent to {self.name} beside the records holds a line break, or a letter "
                "that no header has",
                f"Correct the variable {AUTHORIZATION}.",
            )
        pause = self.pause
        for left in reversed(range(self.tries)):
            wait, why = pause, ""
            asked = request.Request(self.url, body, headers, method="POST")
            try:
                self.requests += 1
                with self._opener.open(asked, timeout=self.timeout) as answer:
                    text = answer.read(_LARGEST + 1)
                if len(text) > _LARGEST:
                    raise InputError(f"{self.name} answers without end", "Is it the service?")
                if answer.length:  # fewer bytes than were announced; a bounded read takes them
                    raise IncompleteRead(text)
                return json.loads(text)
            except errors.HTTPError as error:
                # The answer's body stays unread: a service may repeat there what it was sent.
                why = f"answers {error.code}"
                wait = _asked_wait(error.headers.get("Retry-After"), pause)
                error.close()
                if error.code == 413:
                    raise _TooMany from None
                if error.code not in _LATER:
                    raise self._failed(why, error.code) from None
            except (ValueError, RecursionError):
                raise InputError(f"{self.name} answers no JSON", "Is it the service?") from None
            except HTTPException as error:
                # Torn answers too; what came of one stays unsaid.
                why = f"breaks off or answers no HTTP ({type(error).__name__})"
            except OSError as error:
                reason = getattr(error, "reason", error)
                why = f"cannot be reached ({getattr(reason, 'strerror', None) or reason})"
            if left:
                time.sleep(wait)
                pause *= 2
        raise self._failed(f"{why}, {self.tries} times", 0)

    def _failed(self, why: str, code: int) -> InputError:
        remedy = "Check the address."
        if code in (401, 403):
            remedy = f"Put what it asks for into the variable {AUTHORIZATION}."
        elif 300 <= code < 400:
            remedy = "It sends records elsewhere, and they are not sent there; give that address."
        elif code:
            remedy = "Check the address, and that it takes these columns or images."
        return InputError(f"{self.name} {why}", remedy)


def _numbers(row: Any) -> bool:
    """Whether a record's answer is a number or a list of them, also as texts or null."""
    try:
        for value in row if isinstance(row, list) else [row]:
            if value is not None:
                float(value)
    except (TypeError, ValueError):
        return False
    return True


class _TooMany(Exception):
    """A request was too large."""


class _Stay(request.HTTPRedirectHandler):
    """Private records go to the address that was given and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _rows(frame: Any) -> list[dict[str, Any]]:
    """A data frame as JSON values: numbers, texts, truth values, ISO dates, null."""
    names = [str(name) for name in frame.columns]
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()[:10]  # NaT is not itself
    return value


def _asked_wait(text: str | None, otherwise: float) -> float:
    try:
        return min(_LONGEST, max(0.0, float(text or "")))
    except ValueError:
        return otherwise
