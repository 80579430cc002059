"""The suite's tools and prompt that ask their caller for input: the first answer lists the missing
inputs, and the caller repeats the call with them."""

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

from tests.conformance.fixtures import ToolContext


def add_input_required(fixtures: MCPServer) -> None:
    tool = partial(fixtures.tool, structured_output=False)

    @tool(description="Asks for a name.")
    def test_input_required_result_elicitation(ctx: ToolContext) -> str | InputRequiredResult:
        return _missing(ctx, {"user_name": _NAME}) or "Hello!"

    @tool(description="Asks for a name, for a scenario that inspects the stream.")
    def test_streaming_elicitation(ctx: ToolContext) -> str | InputRequiredResult:
        return _missing(ctx, {"user_name": _NAME}) or "Hello!"

    @tool(description="Asks the client's model.")
    def test_input_required_result_sampling(ctx: ToolContext) -> str | InputRequiredResult:
        return _missing(ctx, {"capital_question": _CAPITAL}) or "The model has answered."

    @tool(description="Asks for the client's roots.")
    def test_input_required_result_list_roots(ctx: ToolContext) -> str | InputRequiredResult:
        return _missing(ctx, {"client_roots": ListRootsRequest()}) or "The roots have been given."

    @tool(description="Asks for a confirmation, and keeps a state.")
    def test_input_required_result_request_state(ctx: ToolContext) -> str | InputRequiredResult:
        missing = _missing(ctx, {"confirm": _CONFIRM}, "asked")
        return missing or ("state-ok" if ctx.request_state == "asked" else "state-lost")

    @tool(description="Asks for a confirmation, and rejects a changed state.")
    def test_input_required_result_tampered_state(ctx: ToolContext) -> str | InputRequiredResult:
        return _missing(ctx, {"confirm": _CONFIRM}, "asked") or "Confirmed."

    @tool(description="Asks for three things at once.")
    def test_input_required_result_multiple_inputs(ctx: ToolContext) -> str | InputRequiredResult:
        questions: dict[str, InputRequest] = {
            "user_name": _NAME,
            "greeting": _sampling("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        }
        return _missing(ctx, questions, "asked") or "All three have been given."

    @tool(description="Asks for one thing after the other.")
    def test_input_required_result_multi_round(ctx: ToolContext) -> str | InputRequiredResult:
        if ctx.request_state != "step 2":
            name = _form("Step 1: What is your name?", name="string")
            missing = _missing(ctx, {"step1": name}, "step 1")
            if missing is not None:
                return missing
        color = _form("Step 2: What is your favorite color?", color="string")
        return _missing(ctx, {"step2": color}, "step 2") or "Both have been given."

    @tool(description="Asks only for what the client can do.")
    def test_input_required_result_capabilities(ctx: ToolContext) -> str | InputRequiredResult:
        declared = ctx.client_capabilities
        questions: dict[str, InputRequest] = {}
        if declared is not None and declared.sampling is not None:
            questions["capital_question"] = _CAPITAL
        if declared is not None and declared.elicitation is not None:
            questions["user_name"] = _NAME
        return _missing(ctx, questions) or "Nothing is missing."

    @fixtures.prompt(description="Asks for the context to use.")
    def test_input_required_result_prompt(ctx: ToolContext) -> str | InputRequiredResult:
        question = _form("What context should the prompt use?", context="string")
        return _missing(ctx, {"user_context": question}) or "The context has been given."


def _missing(
    ctx: ToolContext, questions: Mapping[str, InputRequest], state: str | None = None
) -> InputRequiredResult | None:
    """A result that asks the questions; None once each has an answer."""
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
