"""What can go wrong, in sentences that are shown as they are."""


class EvaluationError(Exception):
    """Something the caller can mend; the message is one line that says what."""


class FormatError(EvaluationError):
    """The data file is not what was published under that name; the message names the entry."""


class ServiceError(EvaluationError):
    """The service does not answer, or answers with an error."""
