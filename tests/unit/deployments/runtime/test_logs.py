"""Log lines: their time, and errors without the content that their messages may quote."""

import io
import json
import logging
from collections.abc import Iterator

import asyncpg
import pytest
from ray._common.formatters import JSONFormatter

from deployments.domain.errors import Fault, RateLimited, Unavailable
from deployments.runtime import logs

CONTENT = "her secret is a blue door"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The output of a handler with Serve's JSON formatter."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JSONFormatter())
    loggers = [logging.getLogger(name) for name in ("ray.serve", "asyncio")]
    filters = {name: logging.getLogger(name).filters[:] for name in (logs.NAME, *_names(loggers))}
    logs.install()
    logs.install()
    for logger in loggers:
        logger.addHandler(handler)
    yield output
    for logger in loggers:
        logger.removeHandler(handler)
    for name, before in filters.items():
        logging.getLogger(name).filters[:] = before


def _names(loggers: list[logging.Logger]) -> list[str]:
    return [logger.name for logger in loggers]


def error_quoting_content() -> Exception:
    """An error as the driver and the repository raise it: its message, cause and note quote
    content."""
    try:
        try:
            raise asyncpg.NotNullViolationError(f"Failing row contains ({CONTENT})")
        except asyncpg.PostgresError as error:
            raise KeyError(CONTENT) from error
    except KeyError as error:
        error.add_note(CONTENT)
        return error


def test_line_is_json_with_an_iso_time_and_no_quoted_content(lines: io.StringIO) -> None:
    logging.getLogger(logs.NAME).error("insert failed", exc_info=error_quoting_content())
    assert CONTENT not in lines.getvalue()
    line = json.loads(lines.getvalue())
    assert line["message"] == "insert failed"
    assert line["levelname"] == "ERROR"
    assert len(line["time"]) == len("2026-11-21T06:25:12.285927Z")
    assert line["time"].endswith("Z")
    assert "SQLSTATE 23502\nwhich led to\n" in line["exc_text"]
    assert "in error_quoting_content\n" in line["exc_text"]
    assert line["exc_text"].endswith("KeyError")


def test_messages_of_memex_errors_are_logged(lines: io.StringIO) -> None:
    logging.getLogger(logs.NAME).error("x", exc_info=Unavailable("database"))
    assert "the database is not available right now" in lines.getvalue()


def test_serves_line_about_a_failed_call_is_dropped_if_memex_logs_it(lines: io.StringIO) -> None:
    for error in (Unavailable("database"), RateLimited("a", "write", 1, 1.0), Fault("KeyError")):
        logging.getLogger("ray.serve").error("Request failed.", exc_info=error)
    assert lines.getvalue() == ""
    logging.getLogger("ray.serve").error("Request failed.", exc_info=error_quoting_content())
    logging.getLogger("ray.serve").error("Starting failed.", exc_info=Unavailable("database"))
    assert len(lines.getvalue().splitlines()) == 2
    assert CONTENT not in lines.getvalue()


def test_asyncio_line_about_a_lost_task_does_not_quote_content(lines: io.StringIO) -> None:
    message = f"Task exception was never retrieved\nfuture: <Task {CONTENT}>"
    logging.getLogger("asyncio").error(message, exc_info=error_quoting_content())
    assert CONTENT not in lines.getvalue()
    assert json.loads(lines.getvalue())["message"] == "Task exception was never retrieved"


def test_description_of_an_exception_group_names_its_members() -> None:
    group = ExceptionGroup(CONTENT, [KeyError(CONTENT), OSError(2, "No such file", CONTENT)])
    assert logs.describe(group) == "ExceptionGroup of KeyError, FileNotFoundError: No such file"


def test_outline_of_a_cycle_of_causes_ends() -> None:
    one, two = KeyError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert logs.outline(one) == "ValueError\nwhich led to\nKeyError"
