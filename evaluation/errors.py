"""Errors whose messages are shown to the user unchanged."""


class EvaluationError(Exception):
    """An error that the user can fix; the message is one line that names it."""


class FormatError(EvaluationError):
    """The data file does not have a published format; the message names the entry."""


class ServiceError(EvaluationError):
    """The service does not answer, or answers with an error."""
