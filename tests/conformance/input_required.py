"""The suite's tools and prompt that ask their caller back: the answer to the first call is what is
missing, and the caller calls again with it."""

from collections.abc import Mapping
from functools import partial

from mcp.server import MCPServer
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

from tests.conformance.fixtures import Asked


def add_input_required(fixtures: MCPServer) -> None:
    tool = partial(fixtures.tool, structured_output=False)

    @tool(description="Asks for a name.")
    def test_input_required_result_elicitation(ctx: Asked) -> str | InputRequiredResult:
        return _missing(ctx, {"user_name": _NAME}) or "Hello!"

    @tool(description="Asks for a name, where a stream is looked at.")
    def test_streaming_elicitation(ctx: Asked) -> str | InputRequiredResult:
        return _missing(ctx, {"user_name": _NAME}) or "Hello!"

    @tool(description="Asks the client's model.")
    def test_input_required_result_sampling(ctx: Asked) -> str | InputRequiredResult:
        return _missing(ctx, {"capital_question": _CAPITAL}) or "The model has answered."

    @tool(description="Asks for the client's roots.")
    def test_input_required_result_list_roots(ctx: Asked) -> str | InputRequiredResult:
        return _missing(ctx, {"client_roots": ListRootsRequest()}) or "The roots have been given."

    @tool(description="Asks for a confirmation, and remembers by a state.")
    def test_input_required_result_request_state(ctx: Asked) -> str | InputRequiredResult:
        missing = _missing(ctx, {"confirm": _CONFIRM}, "asked")
        return missing or ("state-ok" if ctx.request_state == "asked" else "state-lost")

    @tool(description="Asks for a confirmation, and takes no state that was changed.")
    def test_input_required_result_tampered_state(ctx: Asked) -> str | InputRequiredResult:
        return _missing(ctx, {"confirm": _CONFIRM}, "asked") or "Confirmed."

    @tool(description="Asks for three things at once.")
    def test_input_required_result_multiple_inputs(ctx: Asked) -> str | InputRequiredResult:
        questions: dict[str, InputRequest] = {
            "user_name": _NAME,
            "greeting": _sampling("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        }
        return _missing(ctx, questions, "asked") or "All three have been given."

    @tool(description="Asks for one thing after the other.")
    def test_input_required_result_multi_round(ctx: Asked) -> str | InputRequiredResult:
        if ctx.request_state != "step 2":
            name = _form("Step 1: What is your name?", name="string")
            missing = _missing(ctx, {"step1": name}, "step 1")
            if missing is not None:
                return missing
        color = _form("Step 2: What is your favorite color?", color="string")
        return _missing(ctx, {"step2": color}, "step 2") or "Both have been given."

    @tool(description="Asks only for what the client can do.")
    def test_input_required_result_capabilities(ctx: Asked) -> str | InputRequiredResult:
        declared = ctx.client_capabilities
        questions: dict[str, InputRequest] = {}
        if declared is not None and declared.sampling is not None:
            questions["capital_question"] = _CAPITAL
        if declared is not None and declared.elicitation is not None:
            questions["user_name"] = _NAME
        return _missing(ctx, questions) or "Nothing is missing."

    @fixtures.prompt(description="Asks for the context to use.")
    def test_input_required_result_prompt(ctx: Asked) -> str | InputRequiredResult:
        question = _form("What context should the prompt use?", context="string")
        return _missing(ctx, {"user_context": question}) or "The context has been given."


def _missing(
    ctx: Asked, questions: Mapping[str, InputRequest], state: str | None = None
) -> InputRequiredResult | None:
    """None once each question has an answer."""
    if questions.keys() <= (ctx.input_responses or {}).keys():
        return None
    return InputRequiredResult(input_requests=dict(questions), request_state=state)


def _form(message: str, **types: str) -> ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in types.items()},
        "required": list(types),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sampling(text: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    params = CreateMessageRequestParams(messages=[message], max_tokens=100)
    return CreateMessageRequest(params=params)


_NAME = _form("What is your name?", name="string")
_CAPITAL = _sampling("What is the capital of France?")
_CONFIRM = _form("Please confirm", ok="boolean")
