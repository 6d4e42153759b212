"""Requests that are not answered, and why, in the form of OpenAI's errors."""

import contextlib

# What clients such as `openai` turn into exceptions of their own.
KINDS = {
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class Refused(Exception):
    """A request cannot be answered.

    Args:
        message: Str. The rule, what was received, and the next step.
        status: Int. HTTP's status.
        param: Optional str. The field of the request that is meant.
        code: Optional str, for programs.
    """

    def __init__(self, message, status=400, *, param=None, code=None):
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self):
        """Dict, the body of the response."""
        kind = KINDS.get(self.status, "invalid_request_error")
        return {
            "error": {
                "message": str(self),
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


@contextlib.contextmanager
def refusing(param=None):
    """Errors of input become a `Refused`."""
    try:
        yield
    except ValueError as error:
        raise Refused(str(error), param=param) from error
    except FileNotFoundError as error:
        raise Refused(str(error), param=param) from error
