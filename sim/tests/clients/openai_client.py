"""The `openai` package against `simctl serve`: streams, usage, a refusal with its retry, errors, and the speed seen.

Arguments: the base URL of a server with a plan of one request a minute, that of one without a plan.
"""

import sys
import time

from openai import APIError, BadRequestError, OpenAI, RateLimitError

LIMITED, FREE = sys.argv[1], sys.argv[2]
HELLO = [{"role": "user", "content": "hello"}]
TOLERANCE = 0.01
FIRST = 0.002
RUNS = 8
TOKENS = 4000


def client(url, retries=0):
    return OpenAI(base_url=url, api_key="x", max_retries=retries)


def streams(free):
    chunks = list(
        free.chat.completions.create(
            model="any", messages=HELLO, stream=True, max_tokens=7, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert len(text.split()) == 7, text
    assert reasons[-1] == "length" and not any(reasons[:-1]), reasons
    usage = chunks[-1].usage
    assert (usage.completion_tokens, usage.total_tokens) == (7, usage.prompt_tokens + 7), usage
    assert usage.prompt_tokens_details.cached_tokens == 0


def whole_answers(free):
    chat = free.chat.completions.create(model="any", messages=HELLO)
    assert chat.choices[0].finish_reason == "stop"
    assert len(chat.choices[0].message.content.split()) == chat.usage.completion_tokens
    text = free.completions.create(model="any", prompt="once upon", max_tokens=5)
    assert text.choices[0].finish_reason == "length" and len(text.choices[0].text.split()) == 5
    assert len(free.models.list().data) == 1


def cache(free):
    long = [{"role": "system", "content": "The same words for everybody. " * 100}, *HELLO]
    cached = [
        free.chat.completions.create(model="any", messages=long, max_tokens=2).usage.prompt_tokens_details.cached_tokens
        for _ in range(2)
    ]
    assert cached[0] == 0 and cached[1] >= 640 and cached[1] % 128 == 0, cached


def tool(free):
    messages = [{"role": "user", "content": "list the files"}]
    tools = [{"type": "function", "function": {"name": "list_files", "parameters": {"type": "object"}}}]
    first = free.chat.completions.create(model="any", messages=messages, tools=tools).choices[0]
    assert first.finish_reason == "tool_calls", first
    call = first.message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("list_files", '{"directory":"."}'), call
    messages += [first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "a b"}]
    second = free.chat.completions.create(model="any", messages=messages, tools=tools).choices[0]
    assert (second.finish_reason, second.message.content) == ("stop", "There are two files.")


def errors(free):
    try:
        free.chat.completions.create(model="any", messages=[])
        raise AssertionError("an empty list of messages was let in")
    except BadRequestError as error:
        assert error.param == "messages" and error.code == "invalid_value", error
    for fault in ("break the stream", "cut the stream"):
        messages = [{"role": "user", "content": fault}]
        try:
            chunks = list(free.chat.completions.create(model="any", messages=messages, stream=True))
            assert fault.startswith("cut") and chunks[-1].choices[0].finish_reason is None
        except APIError as error:
            assert fault.startswith("break") and "Scripted" in str(error), error


def refusals():
    create = client(LIMITED).chat.completions.create
    create(model="any", messages=HELLO, max_tokens=2)
    try:
        create(model="any", messages=HELLO, max_tokens=2)
        raise AssertionError("a second request within the minute was let in")
    except RateLimitError as error:
        headers = error.response.headers
        assert headers["x-ratelimit-remaining-requests-minute"] == "0", headers
        assert int(headers["retry-after"]) >= 1 and int(headers["retry-after-ms"]) >= 1, headers
        assert error.code == "request_quota_exceeded", error
    again = client(LIMITED, retries=2).chat.completions.with_raw_response.create(
        model="any", messages=HELLO, max_tokens=2
    )
    assert again.retries_taken == 1 and again.parse().usage.completion_tokens == 2, again.retries_taken


def speed(free):
    """What is seen is what is true. Whatever else the computer does only adds to the difference, so one run of several
    must meet it; a mistake of the server would be in all of them."""
    nearest = None
    for _ in range(RUNS):
        times, last = [], None
        stream = free.chat.completions.create(
            model="any",
            messages=HELLO,
            stream=True,
            max_tokens=TOKENS,
            extra_body={"ignore_eos": True},
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                times.append(time.perf_counter())
            last = chunk
        assert len(times) == TOKENS == last.usage.completion_tokens
        seen = (TOKENS - 1) / (times[-1] - times[0])
        true = (TOKENS - 1) / last.time_info["completion_time"]
        assert 1900 < true < 2100, true
        if nearest is None or abs(seen / true - 1) < abs(nearest[0] / nearest[1] - 1):
            nearest = seen, true
        if abs(seen / true - 1) < TOLERANCE:
            break
    seen, true = nearest
    assert abs(seen / true - 1) < TOLERANCE, f"{seen:.1f} tok/s seen, {true:.1f} are true"
    print(f"{seen:.1f} tok/s seen, {true:.1f} are true")


def first_token(free):
    """Beyond what the server says that it took, the first token comes after what the package and the computer take: the
    least of several requests, since that only adds. What they take is seen by a request that needs no machine."""
    beyond, taken = [], []
    for _ in range(3 * RUNS):
        start = time.perf_counter()
        free.models.list()
        taken.append(time.perf_counter() - start)
        start, first, last = time.perf_counter(), None, None
        stream = free.chat.completions.create(
            model="any", messages=HELLO, stream=True, max_tokens=20, stream_options={"include_usage": True}
        )
        for chunk in stream:
            if first is None and chunk.choices and chunk.choices[0].delta.content:
                first = time.perf_counter()
            last = chunk
        beyond.append(first - start - last.time_info["queue_time"] - last.time_info["prompt_time"])
    seen, usual = min(beyond), min(taken)
    words = f"the first token {seen * 1e3:.2f} ms after the server's time, a request without one takes {usual * 1e3:.2f} ms"
    assert -0.0005 < seen < FIRST + usual, words
    print(words)


free = client(FREE)
for step in (streams, whole_answers, cache, tool, errors, speed, first_token):
    step(free)
refusals()
print("openai: all passed")
