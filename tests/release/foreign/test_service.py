from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sfumato.errors import InputError
from sfumato.release.foreign.service import AUTHORIZATION, Service

FRAME = pd.DataFrame({"age": [10, 20, 90], "town": ["north", None, "west"]})


def test_rows_go_out_by_name_and_scores_come_back(service: Any) -> None:
    scores, classes = Service(service.url, batch=2).ask(FRAME)
    np.testing.assert_allclose(scores, [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    assert classes == ()
    assert [len(sent["records"]) for sent in service.asked] == [2, 1]
    assert service.asked[0]["records"][1] == {"age": 20, "town": None}


def test_images_go_out_as_lists(service: Any) -> None:
    scores = Service(service.url)(np.zeros((2, 1, 4, 5), np.float32))
    np.testing.assert_allclose(scores, np.full((2, 3), 1 / 3))
    assert np.asarray(service.asked[0]["images"]).shape == (2, 1, 4, 5)


def test_a_request_that_may_pass_later_is_tried_again(service: Any) -> None:
    service.planned = [(503, {"Retry-After": "0"}, b""), (429, {}, b"")]
    asked = Service(service.url, pause=0)
    assert len(asked(FRAME)) == 3
    assert asked.requests == 3


def test_trying_ends(service: Any) -> None:
    service.planned = [(503, {}, b"")] * 4
    with pytest.raises(InputError, match="answers 503, 4 times"):
        Service(service.url, pause=0)(FRAME)


@pytest.fixture
def torn() -> Iterator[tuple[str, list[bytes]]]:
    """A service that sends what it was given, as it is, and hangs up."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    request = b""
                    while b"}]}" not in request:
                        request += connection.recv(65536)
                    connection.sendall(answers.pop(0))

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/predict", answers


WHOLE = b'{"probabilities": [[1, 0], [1, 0], [0, 1]]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "broken", [HEAD % 500 + WHOLE[:20], b"what?\r\n\r\n", b"", HEAD % 9 + b""], ids=range(4)
)
def test_an_answer_that_breaks_off_is_tried_again_and_then_said(
    broken: bytes, torn: tuple[str, list[bytes]]
) -> None:
    url, answers = torn
    answers += [broken, HEAD % len(WHOLE) + WHOLE]
    assert len(Service(url, pause=0)(FRAME)) == 3
    answers += [broken] * 4
    with pytest.raises(InputError, match=r"4 times") as refused:
        Service(url, pause=0)(FRAME)
    assert "prob" not in str(refused.value)


def test_too_many_records_are_sent_in_parts(service: Any) -> None:
    service.most = 1
    assert len(Service(service.url)(FRAME)) == 3
    service.most = 0
    with pytest.raises(InputError, match="refuses one record"):
        Service(service.url)(FRAME)


@pytest.mark.parametrize(
    ("status", "headers", "named"),
    [
        (401, {}, AUTHORIZATION),
        (400, {}, "takes these columns"),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, "not sent there"),
    ],
)
def test_a_refusal_says_what_to_do_and_nothing_of_the_records(
    status: int, headers: dict[str, str], named: str, service: Any
) -> None:
    service.planned = [(status, headers, b"you sent age 90 of west")]
    with pytest.raises(InputError, match=named) as caught:
        Service(service.url)(FRAME)
    assert "west" not in str(caught.value)
    assert len(service.asked) == 1


@pytest.mark.parametrize("body", [b"[]", b'{"probabilities": [[1, 0]]}', b"<html>"])
def test_answers_of_another_kind_are_refused(body: bytes, service: Any) -> None:
    service.planned = [(200, {}, body)]
    with pytest.raises(InputError, match="answers no"):
        Service(service.url)(FRAME)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"probabilities": [[1, 0], [1, 0], [1]]}', "more scores for some records"),
        (b'{"probabilities": [[1, 0], [1, 0], [1, 0]], "classes": 2}', "otherwise than in a list"),
        (b'{"probabilities": [[1, 0], [1, 0], [1, 0]], "classes": "a,b"}', "than in a list"),
        (b"[" * 100_000, "answers no JSON"),
    ],
)
def test_answers_of_another_shape_are_one_line(body: bytes, named: str, service: Any) -> None:
    service.planned = [(200, {}, body)]
    with pytest.raises(InputError, match=named):
        Service(service.url)(FRAME)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://[::1/ask", "cannot be read"),
        ("http://127.0.0.1:port/ask", "cannot be read"),
        ("http://127.0.0.1/a b", "holds a blank"),
        ("http://127.0.0.1/fr\u00fch", "holds a blank, or a letter"),
    ],
)
def test_an_address_that_is_none_is_said_to_be(url: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Service(url)


def test_a_secret_that_no_header_holds_is_not_taken_for_a_bad_answer(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AUTHORIZATION, "Bearer a\nb")
    with pytest.raises(InputError, match=f"Correct the variable {AUTHORIZATION}") as caught:
        Service(service.url)(FRAME)
    assert "Bearer" not in str(caught.value)
    assert not service.asked


@pytest.mark.parametrize("row", ['{"no": 0.9, "yes": 0.1}', '["90%", "10%"]', '[["0.9"], 0.1]'])
def test_scores_by_name_or_in_percent_are_refused_with_the_form(row: str, service: Any) -> None:
    service.planned = [(200, {}, f'{{"probabilities": [{row}, {row}, {row}]}}'.encode())]
    with pytest.raises(InputError, match=r"are no numbers\. One row a record") as refused:
        Service(service.url)(FRAME)
    assert "0.9" not in str(refused.value)


def test_classes_in_another_order_than_before_are_refused(service: Any) -> None:
    """Servers behind one address, each with its own order: the scores were taken for each other."""
    service.classes = ["no", "yes"]
    asked = Service(service.url)
    assert asked.ask(FRAME)[1] == ("no", "yes")
    service.classes = None  # named once is named
    assert asked.ask(FRAME)[1] == ("no", "yes")
    service.classes = ["yes", "no"]
    with pytest.raises(InputError, match="names the classes yes, no, and before no, yes"):
        asked(FRAME)
    service.classes = ["90", "west"]  # of a record
    with pytest.raises(InputError, match="names the classes otherwise, and before no, yes"):
        asked(FRAME)


def test_classes_that_are_named_late_are_refused(service: Any) -> None:
    """The first answers were taken in the schema's order, which may be another."""
    asked = Service(service.url)
    assert asked.ask(FRAME)[1] == ()
    service.classes = ["yes", "no"]
    with pytest.raises(InputError, match="names its classes now, and did not before"):
        asked(FRAME)


def test_what_nobody_serves_is_said() -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        Service("http://127.0.0.1:9/predict", pause=0, tries=2)(FRAME)


def test_records_go_over_an_open_line_only_where_that_is_said_to_be_safe() -> None:
    with pytest.raises(InputError, match=r"model.example over an open line"):
        Service("http://model.example/predict")
    Service("http://model.example/predict", trust=True)
    Service("https://model.example/predict")


def test_secrets_are_sent_and_never_shown(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTHORIZATION, "Bearer secret")
    asked = Service(service.url + "?key=secret")
    asked(FRAME)
    assert service.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in asked.name
    with pytest.raises(InputError, match="holds a password") as caught:
        Service("https://me:secret@model.example/")
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="no address"):
        Service("http:///predict")
